"""Text generation for evaluation: many answers written at once, refilled as they end.

Limits, stop strings and truncation are the harness's (lm-evaluation-harness 0.4.13,
``HFLM.generate_until``), and so is what sampling draws from. Portions are planned before the first
is written. Models that the live batch does not fit, and options that it does not have, go through
``transformers.generate``. Departures: an encoder-decoder writes up to ``max_gen_toks``, where the
harness adds the length of the prompt; sampling without a temperature takes the model's own, else 1;
noise is drawn from the seed and the prompt; ``max_length`` and an empty stop string are refused.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch

from retain.decode.choose import Sampling
from retain.decode.live import Writing
from retain.decode.prefix_tree import Tokens
from retain.decode.writer import BATCH_SIZE, Ends, Writer, end_tokens
from retain.errors import Interrupted, TaskError
from retain.evaluate.ledger import Ledger
from retain.evaluate.tokens import Encoder

PORTION = 128  # answers between two saves, through the live batch
MAX_NEW_TOKENS = 256  # the harness's default
TOP_K = 50  # of transformers' sampling, where neither the model nor the task names another
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
SAMPLING = {"do_sample", "temperature", "top_k", "top_p"}
LIVE, TRANSFORMERS = "live", "transformers"
HARMLESS = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
    *("transformers_version", "max_length", "max_new_tokens", "use_cache", "cache_implementation"),
    *("_from_model_config", "output_attentions", "output_hidden_states", "trust_remote_code"),
}


@dataclass(frozen=True)
class Prompt:
    """A prompt to be continued.

    Attributes:
        text: The prompt.
        options: ``until`` (strings that end the answer), ``max_gen_toks``, ``do_sample``,
            ``temperature`` and other options of ``transformers.generate``.
        name: What an error calls it.
        tokens: Its tokens where they are known, as behind a chat template; None encodes the text.
    """

    text: str
    options: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    tokens: Tokens | None = None


@dataclass
class Generator:
    """Continues prompts on one model.

    Attributes:
        model: A transformers model in memory.
        encoder: Its tokenizer.
        max_length: What the model can read, in tokens.
        autocast: Makes the context in which the model is called.
        seed: Where sampling noise comes from, with the prompt.
        num_truncated: Prompts so far that had to be cut.
        writer: Writes the tokens.
    """

    model: Any
    encoder: Encoder
    max_length: int
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    seed: int = 0
    num_truncated: int = 0
    writer: Writer = field(init=False)

    def __post_init__(self) -> None:
        self.writer = Writer(self.model, self.encoder.tokenizer, self.max_length, self.autocast)

    @property
    def notes(self) -> list[str]:
        """How answers are written and why, in words."""
        return self.writer.notes

    def continuations(
        self, prompts: Sequence[Prompt], ledger: Ledger | None = None, name: str = "generating"
    ) -> list[str]:
        """What the model writes after each prompt, up to its first stop string.

        Raises:
            TaskError: If a prompt has no token, an option makes no sense, an answer's limit leaves
                no room for a prompt, or the model answers NaN.
            Interrupted: If the ledger's ``stop`` came true; finished portions are kept.
        """
        if not prompts:
            return []
        texts = self.encoder.prompts([prompt.text for prompt in prompts])
        encoded = [
            tokens if prompt.tokens is None else prompt.tokens
            for prompt, tokens in zip(prompts, texts, strict=True)
        ]
        for prompt, tokens in zip(prompts, encoded, strict=True):
            if not tokens:
                raise TaskError(
                    f"{prompt.name}: the prompt has no token, there is nothing to go on from; give "
                    "it text, or set add_bos_token"
                )
        plan = self._plan(prompts, encoded)
        identity = [
            [[tokens, prompt.options] for tokens, prompt in zip(encoded, prompts, strict=True)],
            [[way, portion] for way, portion in plan],
            [self.writer.num_slots, self.max_length, self.seed, torch.get_num_threads()],
        ]
        keys = _keys(encoded)
        kept = ledger or Ledger()

        def check_stop() -> None:
            if kept.stop():
                raise Interrupted(
                    f"{name}: stopped inside a portion of answers; the same command goes on"
                )

        def compute(portion: tuple[str, list[int]]) -> list[str]:
            way, indices = portion
            asked = [prompts[i] for i in indices], [encoded[i] for i in indices]
            if way == LIVE:
                return self._live(*asked, [keys[i] for i in indices], check_stop)
            return self._batch(*asked)

        portions = kept.run(
            name, plan, lambda portion: len(portion[1]), compute, identity=identity, unit="answers"
        )
        written = {
            index: text
            for (_, portion), results in portions
            for index, text in zip(portion, results, strict=True)
        }
        return [written[index] for index in range(len(prompts))]

    def _plan(
        self, prompts: Sequence[Prompt], encoded: Sequence[Tokens]
    ) -> list[tuple[str, list[int]]]:
        """Portions of prompts with equal options, longest first, each with how it is written.

        What is longest decides first, so one trial of the live batch holds for all.
        """
        groups: dict[str, list[int]] = {}
        for index, prompt in enumerate(prompts):
            groups.setdefault(json.dumps(prompt.options, sort_keys=True), []).append(index)
        end = self._end_of_text()
        lengths = {
            key: max(len(encoded[i]) for i in group) + _settings(prompts[group[0]], end)[0]
            for key, group in groups.items()
        }
        plan = []
        for key, group in sorted(groups.items(), key=lambda item: -lengths[item[0]]):
            longest = min(lengths[key], self.max_length)
            way, size = LIVE, PORTION
            if reason := self._not_live(prompts[group[0]], longest):
                way = TRANSFORMERS
                size = 1 if self.writer.alone_if(longest) else BATCH_SIZE
                self.writer.say(f"answers written by transformers.generate because {reason}")
            ordered = sorted(group, key=lambda index: (-len(encoded[index]), index))
            plan += [(way, ordered[at : at + size]) for at in range(0, len(ordered), size)]
        return plan

    def _not_live(self, prompt: Prompt, longest: int) -> str:
        """Why these prompts cannot be written by the live batch; empty if they can."""
        if self.encoder.separate:
            return "the model has an encoder"
        _, _, options = _settings(prompt, self._end_of_text())
        config = self._config(options)
        of_none = [key for key in options if not hasattr(config, key)]  # transformers refuses them
        changed = [*of_none, *config.to_diff_dict()]
        if unknown := sorted(key for key in changed if key not in SAMPLING | HARMLESS):
            return f"{unknown[0]} is set"
        return self.writer.why_not_live(longest)

    def _config(self, options: dict[str, Any]) -> Any:
        """The model's own settings of generation with what is asked for."""
        config = deepcopy(self.model.generation_config)
        config.update(**options)
        return config

    def _live(
        self,
        prompts: list[Prompt],
        encoded: list[Tokens],
        keys: Sequence[str],
        check_stop: Callable[[], None],
    ) -> list[str]:
        """Write answers in the live batch; with fewer at a time where memory runs out."""
        limit, until, options = _settings(prompts[0], self._end_of_text())
        config = self._config(options)
        sampling = Sampling(seed=self.seed)
        if config.do_sample:
            sampling = Sampling(
                1.0 if config.temperature is None else config.temperature,
                (TOP_K if config.top_k is None else config.top_k) or None,
                1.0 if config.top_p is None else config.top_p,
                self.seed,
            )
        rows = self._cut_left(prompts, encoded, limit)
        ends = Ends(self.encoder.tokenizer, until, end_tokens(config, self.encoder.tokenizer))
        writings = [
            Writing(row, limit, ends, key, prompt.name)
            for row, key, prompt in zip(rows, keys, prompts, strict=True)
        ]
        self.writer.live(writings, sampling, check_stop)
        texts = self.encoder.tokenizer.batch_decode(
            [one.written for one in writings], skip_special_tokens=True
        )
        return [_cut(text, until) for text in texts]

    def _cut_left(
        self, prompts: Sequence[Prompt], encoded: Sequence[Tokens], limit: int
    ) -> list[Tokens]:
        """Prompts that leave room for the answer."""
        room = self.max_length if self.encoder.separate else self.max_length - limit
        if room <= 0:
            raise TaskError(
                f"{prompts[0].name}: answers of up to {limit} tokens leave no room for the prompt; "
                f"the model reads {self.max_length}. Lower max_gen_toks."
            )
        self.num_truncated += sum(len(tokens) > room for tokens in encoded)
        return [tokens[-room:] for tokens in encoded]

    def _batch(self, prompts: list[Prompt], encoded: list[Tokens]) -> list[str]:
        limit, until, options = _settings(prompts[0], self._end_of_text())
        rows = self._cut_left(prompts, encoded, limit)
        ends = Ends(self.encoder.tokenizer, until)
        names = [prompt.name for prompt in prompts]
        tokens = self.writer.by_transformers(rows, limit, ends, self.seed, names, **options)
        written = self.encoder.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [_cut(text, until) for text in written]

    def _end_of_text(self) -> str:
        return str(self.encoder.tokenizer.decode([self.encoder.tokenizer.eos_token_id]))


def _keys(prompts: Sequence[Tokens]) -> list[str]:
    """What sampling noise is drawn from: each prompt, and which of its repeats it is."""
    repeats: Counter[Tokens] = Counter()
    keys = []
    for prompt in prompts:
        keys.append(sha256(json.dumps([prompt, repeats[prompt]]).encode()).hexdigest())
        repeats[prompt] += 1
    return keys


def _settings(prompt: Prompt, end: str) -> tuple[int, list[str], dict[str, Any]]:
    """Limit in tokens, stop strings, what goes to ``generate``; greedy unless told otherwise."""
    rest = dict(prompt.options)
    if rest.pop("max_length", None) is not None:
        raise TaskError(
            f"{prompt.name}: max_length counts the prompt too; set max_gen_toks, the most tokens "
            "of the answer"
        )
    given = [rest.pop(name) for name in LIMITS if rest.get(name) is not None]
    limit = int(given[0]) if given else MAX_NEW_TOKENS
    if limit < 1:
        raise TaskError(f"{prompt.name}: max_gen_toks is {limit}; an answer has 1 token or more")
    rest = {key: value for key, value in rest.items() if key not in LIMITS}
    until = rest.pop("until", None) or []
    until = [until] if isinstance(until, str) else list(until)
    if "" in until:
        raise TaskError(
            f"{prompt.name}: until holds an empty string, which ends every answer at its first "
            "token; leave it out"
        )
    return limit, [*until, end] if end not in until else until, rest | _sampling(rest, prompt.name)


def _sampling(options: dict[str, Any], name: str) -> dict[str, Any]:
    """Whether to sample, and how hot; taken out of the options."""
    given, sampled = options.pop("temperature", None), options.pop("do_sample", None)
    temperature = 0.0 if given is None else float(given)
    if temperature < 0 or (sampled and given is not None and temperature == 0):
        raise TaskError(
            f"{name}: temperature is {given}; sampling needs more than 0 (without do_sample, 0 "
            "takes the most likely token)"
        )
    sampled = temperature > 0 if sampled is None else bool(sampled)
    return {"do_sample": sampled} | ({"temperature": temperature} if sampled and given else {})


def _cut(text: str, until: list[str]) -> str:
    for stop in filter(None, until):
        text = text.split(stop)[0]
    return text
