"""Text generation for evaluation: many answers written at once, refilled as they end.

Limits, stop strings and truncation are the harness's (lm-evaluation-harness 0.4.13,
``HFLM.generate_until``). Portions are planned before the first is written. Models that the live
batch does not fit, and options that it does not have, go through ``transformers.generate``.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from retain.decode.choose import Sampling
from retain.decode.live import Trial, Writing, tried, write
from retain.decode.prefix_tree import Tokens
from retain.errors import Interrupted, TaskError
from retain.evaluate.ledger import Ledger
from retain.evaluate.tokens import Encoder
from retain.model.attention import longest_window
from retain.model.head import evaluating
from retain.model.memory import is_out_of_memory

BATCH_SIZE = 16  # of transformers.generate
PORTION = 128  # answers between two saves, through the live batch
MAX_NEW_TOKENS = 256  # the harness's default
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
TOLERANCE = 1e-4  # of a log-probability, fp32 weights
TOLERANCE_HALF = 0.5  # 16-bit weights: of any token of the vocabulary
SAMPLING = {"do_sample", "temperature", "top_k", "top_p"}
LIVE, TRANSFORMERS = "live", "transformers"
MARGIN = 24  # how much longer than a window the trial's prompts are, in tokens
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
        num_slots: Answers written at a time; None takes what memory allows. Halved where it runs
            out.
        seed: Where sampling noise comes from, with the prompt.
        num_truncated: Prompts so far that had to be cut.
        notes: How answers are written and why, in words.
    """

    model: Any
    encoder: Encoder
    max_length: int
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    num_slots: int | None = None
    seed: int = 0
    num_truncated: int = 0
    notes: list[str] = field(default_factory=list)
    _trial: Trial | None = None

    def continuations(
        self, prompts: Sequence[Prompt], ledger: Ledger | None = None, name: str = "generating"
    ) -> list[str]:
        """What the model writes after each prompt, up to its first stop string.

        Raises:
            TaskError: If an answer's limit leaves no room for a prompt.
            Interrupted: If the ledger's ``stop`` came true; finished portions are kept.
        """
        if not prompts:
            return []
        texts = self.encoder.encode([prompt.text for prompt in prompts])
        encoded = [
            tokens if prompt.tokens is None else prompt.tokens
            for prompt, tokens in zip(prompts, texts, strict=True)
        ]
        plan = self._plan(prompts, encoded)
        identity = [
            [[tokens, prompt.options] for tokens, prompt in zip(encoded, prompts, strict=True)],
            [[way, portion] for way, portion in plan],
            [self.num_slots, self.max_length, self.seed, torch.get_num_threads()],
        ]
        keys = _keys(encoded)
        kept = ledger or Ledger()

        def check_stop() -> None:
            if kept.stop():
                raise Interrupted(f"{name}: stopped inside a portion of answers")

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
        """Portions of prompts with equal options, longest first, each with how it is written."""
        groups: dict[str, list[int]] = {}
        for index, prompt in enumerate(prompts):
            groups.setdefault(json.dumps(prompt.options, sort_keys=True), []).append(index)
        plan = []
        for group in groups.values():
            way, size = LIVE, PORTION
            if reason := self._not_live(prompts[group[0]], max(len(encoded[i]) for i in group)):
                way, size = TRANSFORMERS, BATCH_SIZE
                self._say(f"answers written by transformers.generate because {reason}")
            ordered = sorted(group, key=lambda index: (-len(encoded[index]), index))
            plan += [(way, ordered[at : at + size]) for at in range(0, len(ordered), size)]
        return plan

    def _not_live(self, prompt: Prompt, longest: int) -> str:
        """Why these prompts cannot be written by the live batch; empty if they can."""
        if self.encoder.separate:
            return "the model has an encoder"
        _, _, options = _settings(prompt.options, self._end_of_text())
        changed = self._config(options).to_diff_dict()
        if unknown := sorted(key for key in changed if key not in SAMPLING | HARMLESS):
            return f"{unknown[0]} is set"
        if self._trial is None:
            num_tokens = min(longest_window(self.model), longest) + MARGIN
            with evaluating(self.model):
                self._trial = tried(self.model, min(num_tokens, self.max_length - MARGIN))
        half = next(self.model.parameters()).dtype in (torch.float16, torch.bfloat16)
        if self._trial.fault:
            return f"a live batch fails: {self._trial.fault}"
        if self._trial.worst > (TOLERANCE_HALF if half else TOLERANCE):
            return f"a live batch is off by {self._trial.worst:.2g} on random tokens"
        return ""

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

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
        limit, until, options = _settings(prompts[0].options, self._end_of_text())
        config = self._config(options)
        sampling = Sampling(seed=self.seed)
        if config.do_sample:
            sampling = Sampling(
                1.0 if config.temperature is None else config.temperature,
                config.top_k or None,
                1.0 if config.top_p is None else config.top_p,
                self.seed,
            )
        rows = self._cut_left(prompts, encoded, limit)
        ends = _Ends(self.encoder.tokenizer, until, _end_tokens(config, self.encoder.tokenizer))
        assert self._trial is not None
        num_slots = self.num_slots or self._trial.num_slots(max(map(len, rows)) + limit)
        while True:
            writings = [Writing(row, limit, ends, key) for row, key in zip(rows, keys, strict=True)]
            try:
                with evaluating(self.model), self.autocast():
                    write(self.model, writings, sampling, num_slots, check_stop)
                break
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or num_slots == 1:
                    raise
                self.num_slots = num_slots = num_slots // 2
                self._say(f"out of memory: going on with {num_slots} answers at a time")
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
        limit, until, options = _settings(prompts[0].options, self._end_of_text())
        rows = self._cut_left(prompts, encoded, limit)
        inputs_BL, mask_BL = self._padded(rows)
        start = 1 if self.encoder.separate else inputs_BL.shape[1]
        ends = _Ends(self.encoder.tokenizer, until)
        stopping = StoppingCriteriaList([_Stopping(ends, start)])
        seed = sha256(json.dumps([self.seed, rows]).encode()).digest()[:7]
        with torch.random.fork_rng(), torch.no_grad(), self.autocast():
            torch.manual_seed(int.from_bytes(seed))
            output_BL = self.model.generate(
                input_ids=inputs_BL,
                attention_mask=mask_BL,
                max_new_tokens=limit,
                stopping_criteria=stopping,
                pad_token_id=self._pad_token_id(),
                **options,
            )
        written = self.encoder.tokenizer.batch_decode(
            output_BL[:, start:].tolist(), skip_special_tokens=True
        )
        return [_cut(text, until) for text in written]

    def _padded(self, rows: list[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
        length = max(map(len, rows))
        pad = self._pad_token_id()
        inputs = [[pad] * (length - len(row)) + list(row) for row in rows]
        mask = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
        device = self.model.device
        return torch.tensor(inputs, device=device), torch.tensor(mask, device=device)

    def _pad_token_id(self) -> int:
        pad = self.encoder.tokenizer.pad_token_id
        return int(self.encoder.tokenizer.eos_token_id if pad is None else pad)

    def _end_of_text(self) -> str:
        return str(self.encoder.tokenizer.decode([self.encoder.tokenizer.eos_token_id]))


class _Stopping(StoppingCriteria):  # type: ignore[misc]
    """Ends each sequence of ``transformers.generate`` by the rule of the live batch.

    The harness does so for a batch of one; in its larger batches a sequence writes on until all
    have ended, which shows where a stop string is a special token's.
    """

    def __init__(self, ends: "_Ends", start: int) -> None:
        self.ends, self.start = ends, start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        tails = input_ids[:, max(self.start, input_ids.shape[1] - self.ends.tail) :].tolist()
        ended = [self.ends(tail) for tail in tails]
        return torch.tensor(ended, device=input_ids.device)


class _Ends:
    """Whether what is written ends an answer: an end token, or a stop string, specials spelled."""

    def __init__(
        self, tokenizer: Any, until: list[str], end_tokens: Set[int] = frozenset()
    ) -> None:
        self.tokenizer, self.end_tokens = tokenizer, end_tokens
        self.until = [text for text in until if text]
        longest = max((len(text.encode()) for text in self.until), default=0)
        self.tail = longest + 4  # tokens: each writes a byte at least

    def __call__(self, written: list[int]) -> bool:
        if written[-1] in self.end_tokens:
            return True
        text = self.tokenizer.decode(written[-self.tail :])
        return any(stop in text for stop in self.until)


def _end_tokens(config: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a text, by the model's settings and its tokenizer."""
    ends = config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    return set(ends) if isinstance(ends, list | tuple) else {int(ends)}


def _keys(prompts: Sequence[Tokens]) -> list[str]:
    """What sampling noise is drawn from: each prompt, and which of its repeats it is."""
    repeats: Counter[Tokens] = Counter()
    keys = []
    for prompt in prompts:
        keys.append(sha256(json.dumps([prompt, repeats[prompt]]).encode()).hexdigest())
        repeats[prompt] += 1
    return keys


def _settings(options: dict[str, Any], end: str) -> tuple[int, list[str], dict[str, Any]]:
    """Limit in tokens, stop strings, what goes to ``generate``; greedy unless told otherwise."""
    rest = dict(options)
    given = [rest.pop(name) for name in LIMITS if rest.get(name) is not None]
    limit = int(given[0]) if given else MAX_NEW_TOKENS
    rest = {key: value for key, value in rest.items() if key not in LIMITS}
    until = rest.pop("until", None) or []
    until = [until] if isinstance(until, str) else list(until)
    temperature = float(rest.pop("temperature", None) or 0.0)
    sampled = rest.pop("do_sample", None)
    sampled = temperature > 0 if sampled is None else bool(sampled)
    rest["do_sample"] = sampled
    if sampled and temperature > 0:
        rest["temperature"] = temperature
    return limit, [*until, end] if end not in until else until, rest


def _cut(text: str, until: list[str]) -> str:
    for stop in filter(None, until):
        text = text.split(stop)[0]
    return text
