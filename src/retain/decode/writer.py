"""Prompts in, written tokens out: by the live batch where it fits the model, else transformers.

What is written does not depend on how many sequences are written at a time, up to the last bits
of 16-bit weights.
"""

import json
from collections.abc import Callable, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from retain.decode.choose import Sampling
from retain.decode.live import Trial, Writing, answers_nan, tried, write
from retain.decode.prefix_tree import Tokens
from retain.model.attention import longest_window
from retain.model.exact import multiplied_in_float32
from retain.model.head import evaluating
from retain.model.memory import is_out_of_memory
from retain.model.rotary import forget_rows, rowwise_from

BATCH_SIZE = 16  # of transformers.generate
TOLERANCE = 1e-3  # of a log-probability, fp32 weights; rounding is to 2e-4, a wrong mask from 0.1
TOLERANCE_HALF = 0.5  # 16-bit weights: of any token of the vocabulary
MARGIN = 24  # how much longer than a window the trial's prompts are, in tokens
TRIAL_STEPS = 3  # what the trial writes behind them


def _never() -> None:
    """A stop that never comes."""


class Ends:
    """Whether what is written ends a text: an end token, or a stop string, specials spelled.

    Args:
        tokenizer: Of the model.
        until: Strings that end a text.
        end_tokens: Tokens that end it.
    """

    def __init__(
        self, tokenizer: Any, until: Sequence[str] = (), end_tokens: Set[int] = frozenset()
    ) -> None:
        self.tokenizer, self.end_tokens = tokenizer, end_tokens
        self.until = [text for text in until if text]
        longest = max((len(text.encode()) for text in self.until), default=0)
        self.tail = longest + 4  # tokens: each writes a byte at least

    def __call__(self, written: list[int]) -> bool:
        """Whether it ends here."""
        if written[-1] in self.end_tokens:
            return True
        if not self.until:
            return False
        text = self.tokenizer.decode(written[-self.tail :])
        return any(stop in text for stop in self.until)


def end_tokens(config: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a text, by the model's settings of generation and its tokenizer."""
    ends = config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    return set(ends) if isinstance(ends, list | tuple) else {int(ends)}


@dataclass
class Writer:
    """Writes after prompts on one model.

    Attributes:
        model: A transformers model in memory.
        tokenizer: Its tokenizer.
        max_length: What the model can read, in tokens.
        autocast: Makes the context in which the model is called.
        num_slots: Sequences written at a time; None takes what memory allows. Halved where it runs
            out.
        notes: How texts are written and why, in words.
    """

    model: Any
    tokenizer: Any
    max_length: int
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    num_slots: int | None = None
    notes: list[str] = field(default_factory=list)
    _trial: Trial | None = None
    _tried_to: int = 0

    def why_not_live(self, longest: int) -> str:
        """Why the live batch is not for this model; empty if it is.

        It is tried in the precision of the weights, and again where texts become longer than those
        it was tried on.

        Args:
            longest: Tokens of the longest prompt with its answer.
        """
        if self.model.config.is_encoder_decoder:
            return "the model has an encoder"
        if self.alone_if(longest):
            return (
                "its rotary positions depend on the longest sequence of a batch, from "
                f"{rowwise_from(self.model)} tokens on"
            )
        num_tokens = min(longest_window(self.model), longest) + MARGIN
        if self._trial is None or num_tokens > self._tried_to:
            self._tried_to = num_tokens
            with evaluating(self.model), multiplied_in_float32(self.model):
                self._trial = tried(self.model, min(num_tokens, self.max_length - TRIAL_STEPS))
        half = next(self.model.parameters()).dtype in (torch.float16, torch.bfloat16)
        if self._trial.fault:
            return f"a live batch fails: {self._trial.fault}"
        if self._trial.worst > (TOLERANCE_HALF if half else TOLERANCE):
            return f"a live batch is off by {self._trial.worst:.2g} on random tokens"
        return ""

    def alone_if(self, longest: int) -> bool:
        """Whether texts of so many tokens, prompt and answer, are to be written one by one."""
        return longest >= rowwise_from(self.model)

    def say(self, note: str) -> None:
        """Keep a note, once."""
        if note not in self.notes:
            self.notes.append(note)

    def live(
        self,
        writings: Sequence[Writing],
        sampling: Sampling,
        check_stop: Callable[[], None] = _never,
    ) -> None:
        """Fill ``written`` in the live batch; with fewer at a time where memory runs out.

        ``why_not_live`` was asked before.
        """
        assert self._trial is not None, "why_not_live is asked first"
        longest = max(len(one.prompt) + one.limit for one in writings)
        num_slots = min(self.num_slots or self._trial.num_slots(longest), len(writings))
        while True:
            for one in writings:
                one.written.clear()
            try:
                with evaluating(self.model), self.autocast():
                    write(self.model, writings, sampling, num_slots, check_stop)
                break
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or num_slots == 1:
                    raise
                self.num_slots = num_slots = num_slots // 2
                self.say(f"out of memory: going on with {num_slots} answers at a time")

    def by_transformers(
        self,
        rows: Sequence[Tokens],
        limit: int,
        ends: Ends,
        seed: int = 0,
        names: Sequence[str] = (),
        **options: Any,
    ) -> list[list[int]]:
        """What ``transformers.generate`` writes after each prompt, all in one batch.

        Args:
            rows: The prompts.
            limit: The most tokens to write.
            ends: When a text ends.
            seed: Where sampling noise comes from, with the prompts.
            names: What an error calls each prompt.
            options: Of ``generate``.

        Raises:
            TaskError: If the model answers NaN.
        """
        inputs_BL, mask_BL = self._padded(rows)
        start = 1 if self.model.config.is_encoder_decoder else inputs_BL.shape[1]
        noise = sha256(json.dumps([seed, rows]).encode()).digest()[:7]
        forget_rows(self.model)
        with torch.random.fork_rng(), torch.no_grad(), self.autocast():
            torch.manual_seed(int.from_bytes(noise))
            output_BL = self.model.generate(
                input_ids=inputs_BL,
                attention_mask=mask_BL,
                max_new_tokens=limit,
                stopping_criteria=StoppingCriteriaList([_Stopping(ends, start)]),
                logits_processor=LogitsProcessorList([_Numbers(names or [""] * len(rows))]),
                pad_token_id=self._pad_token_id(),
                **options,
            )
        written: list[list[int]] = output_BL[:, start:].tolist()
        return written

    def _padded(self, rows: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
        length = max(map(len, rows))
        pad = self._pad_token_id()
        inputs = [[pad] * (length - len(row)) + list(row) for row in rows]
        mask = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
        device = self.model.device
        return torch.tensor(inputs, device=device), torch.tensor(mask, device=device)

    def _pad_token_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)


class _Stopping(StoppingCriteria):  # type: ignore[misc]
    """Ends each sequence of ``transformers.generate`` by the rule of the live batch.

    The harness does so for a batch of one; in its larger batches a sequence writes on until all
    have ended, which shows where a stop string is a special token's.
    """

    def __init__(self, ends: Ends, start: int) -> None:
        self.ends, self.start = ends, start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        tails = input_ids[:, max(self.start, input_ids.shape[1] - self.ends.tail) :].tolist()
        ended = [self.ends(tail) for tail in tails]
        return torch.tensor(ended, device=input_ids.device)


class _Numbers(LogitsProcessor):  # type: ignore[misc]
    """Stops ``transformers.generate`` at an answer that is NaN; scores themselves are left."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        is_broken = scores.amax(-1).isnan()
        if is_broken.any():
            num_beams = len(scores) // len(self.names)
            raise answers_nan(self.names[int(is_broken.nonzero()[0, 0]) // num_beams])
        return scores
