"""Text generation for evaluation: left-padded batches through ``transformers.generate``.

Limits, stop strings and truncation are the harness's (lm-evaluation-harness 0.4.13,
``HFLM.generate_until``). Batches are planned before the first is run.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from retain.errors import TaskError
from retain.evaluate.ledger import Ledger
from retain.evaluate.tokens import Encoder, Tokens

BATCH_SIZE = 16
MAX_NEW_TOKENS = 256  # the harness's default
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


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
        batch_size: Prompts at a time.
        seed: Where sampling noise comes from, with the batch.
        num_truncated: Prompts so far that had to be cut.
    """

    model: Any
    encoder: Encoder
    max_length: int
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    batch_size: int = BATCH_SIZE
    seed: int = 0
    num_truncated: int = 0

    def continuations(
        self, prompts: Sequence[Prompt], ledger: Ledger | None = None, name: str = "generating"
    ) -> list[str]:
        """What the model writes after each prompt, up to its first stop string.

        Raises:
            TaskError: If an answer's limit leaves no room for a prompt.
            Interrupted: If the ledger's ``stop`` came true; finished batches are kept.
        """
        texts = self.encoder.encode([prompt.text for prompt in prompts])
        encoded = [
            tokens if prompt.tokens is None else prompt.tokens
            for prompt, tokens in zip(prompts, texts, strict=True)
        ]
        plan = _plan(prompts, encoded, self.batch_size)
        identity = [
            [[tokens, prompt.options] for tokens, prompt in zip(encoded, prompts, strict=True)],
            [self.batch_size, self.max_length, self.seed, torch.get_num_threads()],
        ]
        batches = (ledger or Ledger()).run(
            name,
            plan,
            len,
            lambda batch: self._batch([prompts[i] for i in batch], [encoded[i] for i in batch]),
            identity=identity,
            unit="answers",
        )
        written = {
            index: text
            for batch, results in batches
            for index, text in zip(batch, results, strict=True)
        }
        return [written[index] for index in range(len(prompts))]

    def _batch(self, prompts: list[Prompt], encoded: list[Tokens]) -> list[str]:
        limit, until, options = _settings(prompts[0].options, self._end_of_text())
        room = self.max_length if self.encoder.separate else self.max_length - limit
        if room <= 0:
            raise TaskError(
                f"{prompts[0].name}: answers of up to {limit} tokens leave no room for the prompt; "
                f"the model reads {self.max_length}. Lower max_gen_toks."
            )
        self.num_truncated += sum(len(tokens) > room for tokens in encoded)
        rows = [tokens[-room:] for tokens in encoded]
        inputs_BL, mask_BL = self._padded(rows)
        start = 1 if self.encoder.separate else inputs_BL.shape[1]
        stopping = StoppingCriteriaList([_StopStrings(self.encoder.tokenizer, until, start)])
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


class _StopStrings(StoppingCriteria):  # type: ignore[misc]
    """Ends each sequence where it has written one of the stop strings, special tokens spelled out.

    The harness does so for a batch of one; in its larger batches a sequence writes on until all
    have ended, which shows where a stop string is a special token's.
    """

    def __init__(self, tokenizer: Any, until: list[str], start: int) -> None:
        self.tokenizer, self.start = tokenizer, start
        self.until = [text for text in until if text]
        longest = max((len(text.encode()) for text in self.until), default=0)
        self.tail = longest + 4  # tokens: each writes a byte at least

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        tails = input_ids[:, max(self.start, input_ids.shape[1] - self.tail) :].tolist()
        texts = self.tokenizer.batch_decode(tails)
        ended = [any(stop in text for stop in self.until) for text in texts]
        return torch.tensor(ended, device=input_ids.device)


def _plan(prompts: Sequence[Prompt], encoded: list[Tokens], size: int) -> list[list[int]]:
    """Batches of prompts with equal options, longest first."""
    groups: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(json.dumps(prompt.options, sort_keys=True), []).append(index)
    plan = []
    for group in groups.values():
        ordered = sorted(group, key=lambda index: (-len(encoded[index]), index))
        plan += [ordered[first : first + size] for first in range(0, len(ordered), size)]
    return plan


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
