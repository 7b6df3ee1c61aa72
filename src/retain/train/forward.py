"""From training sequences to hidden states and logits, nothing padded, the head only where needed.

Sequences lie end to end in one row and do not see each other (``retain.model.attention``). The
head is applied to the positions that predict a trained token, in chunks; that takes the decoder
and the head apart (``retain.model.head``). Both are checked when training starts, against the
model called plainly on one sequence; where they disagree, the plain way is taken.

Shapes: T tokens of a row, R positions that predict a trained token, D width, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from retain.errors import ModelError
from retain.methods.given import Batch
from retain.model.attention import tree_attention
from retain.model.boundary import Boundary
from retain.model.exact import multiplied_in_float32
from retain.model.head import UNLIKE, take_apart
from retain.model.layout import Layout
from retain.model.memory import is_out_of_memory
from retain.model.rotary import forget_rows, rowwise_from
from retain.train.stream import Row, micro_batches

if TYPE_CHECKING:
    from retain.train.below import Below

TOLERANCE = 1e-4  # of a log-probability, float32
CHECK_TOKENS = (5, 23, 11)
Head = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Forward:
    """How one model is called in training.

    Attributes:
        model: The whole model.
        packed: Whether sequences may share a row.
        decoder: The model below its head.
        head: States R D to logits R V, with whatever the family does around the projection.
        below: What the lowest blocks make of rows, where it is known and need not be computed.
    """

    model: Any
    packed: bool
    decoder: Any = field(repr=False)
    head: Head = field(repr=False)
    below: "Below | None" = None

    def attention(self, rows: Sequence[Row]) -> AbstractContextManager[None]:
        """The context for everything done with the row, its backward pass included."""
        if not self.packed:
            return nullcontext()
        return tree_attention(self.model, Layout.of_documents([row.num_tokens for row in rows]))

    @contextmanager
    def around(self, rows: Sequence[Row]) -> Iterator[None]:
        """The same, with what is known of the rows given to the model."""
        below = self.below.given(self.model, rows) if self.below else nullcontext()
        with self.attention(rows), below:
            yield

    def batch(self, rows: Sequence[Row]) -> Batch:
        """The sequences as the model takes them, on its device."""
        return make_batch(rows, self.model.device, with_positions=self.packed)

    def hidden(self, batch: Batch) -> Tensor:
        """States T D before the head."""
        if not self.packed:
            forget_rows(self.model)
        states: Tensor = self.decoder(**batch.inputs, use_cache=False).last_hidden_state
        return states[0]

    def states_below(self, boundary: Boundary, rows: Sequence[Row]) -> Tensor:
        """States T D of the rows where they leave the lowest blocks."""
        batch = self.batch(rows)
        with self.attention(rows):
            call = partial(self.decoder, **batch.inputs, use_cache=False)
            return boundary.take(call)[0]

    @property
    def vocab_size(self) -> int:
        """Width of the logits."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    def groups(self, rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
        """What of a step is computed at once: one sequence where packing is not exact."""
        return micro_batches(rows, max_tokens if self.packed else 1)


def make_batch(rows: Sequence[Row], device: torch.device, *, with_positions: bool) -> Batch:
    """The sequences end to end in one row; each starts at position 0, where positions are given."""
    tokens = np.concatenate([row.input_ids for row in rows])
    positions = np.concatenate([np.arange(row.num_tokens) for row in rows])
    trained = np.concatenate([row.trained for row in rows])
    weights = np.concatenate([np.full(row.num_trained_tokens, row.weight) for row in rows])
    targets = np.flatnonzero(trained)

    def tensor(array: Any, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.as_tensor(array, dtype=dtype).to(device, non_blocking=True)

    inputs = {"input_ids": tensor(tokens[None])}
    if with_positions:
        inputs["position_ids"] = tensor(positions[None])
    return Batch(
        inputs=inputs,
        rows=tensor(targets - 1),
        targets=tensor(tokens[targets]),
        weights=tensor(weights, torch.float32),
    )


def make_forward(model: Any, longest_tokens: int = 0) -> Forward:
    """The fastest way to call ``model`` that gives what the model gives when called plainly.

    Args:
        model: A language model of transformers; its mode is left as found.
        longest_tokens: Longest sequence to come; sliding windows up to it are checked too. Where
            rotary positions depend on the longest sequence of a row, sequences go one by one.

    Raises:
        ModelError: If its head cannot be told from its decoder.
    """
    if model.config.is_encoder_decoder:
        from retain.train.pairs import make_pair_forward

        return make_pair_forward(model)
    was_training = model.training
    model.eval()
    try:
        with multiplied_in_float32(model):
            return _first_that_agrees(model, longest_tokens)
    finally:
        model.train(was_training)


def _first_that_agrees(model: Any, longest_tokens: int) -> Forward:
    fast = Forward(model, True, *_take_apart(model))
    rows = _random_rows(model, longest_tokens)
    plain = [_plain_log_probabilities(model, row) for row in rows]
    positionwise = longest_tokens < rowwise_from(model)
    if positionwise and _takes_positions(fast) and _agrees(fast, rows, torch.cat(plain)):
        return fast
    slow = Forward(model, False, fast.decoder, fast.head)
    try:
        off = max(_differs(slow, [row], p) for row, p in zip(rows, plain, strict=True))
    except UNLIKE as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"{type(model).__name__}: decoder and head cannot be called apart ({error}), so it "
            "cannot be trained here"
        ) from error
    if off <= TOLERANCE:
        return slow
    raise ModelError(
        f"{type(model).__name__}: decoder and head apart give other log-probabilities than the "
        f"whole model (by {off:.1e}, allowed {TOLERANCE:.0e}); it cannot be trained here"
    )


def _agrees(fast: Forward, rows: Sequence[Row], expected: Tensor) -> bool:
    """Whether a packed row gives what is expected; a model may not take one at all (Falcon)."""
    try:
        return _differs(fast, rows, expected) <= TOLERANCE
    except UNLIKE as error:
        if is_out_of_memory(error):
            raise
        return False


def _take_apart(model: Any) -> tuple[Any, Head]:
    try:
        return take_apart(model)
    except TypeError as error:
        raise ModelError(f"{error}: it cannot be trained here") from error


def _takes_positions(forward: Forward) -> bool:
    return "position_ids" in signature(type(forward.decoder).forward).parameters


def _random_rows(model: Any, longest_tokens: int) -> list[Row]:
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None) or 0
    lengths = (*CHECK_TOKENS, window + 3) if 0 < window < longest_tokens else CHECK_TOKENS
    draw = np.random.default_rng(0)
    return [
        Row(f"check-{i}", "check", draw.integers(0, config.vocab_size, n), np.arange(n) > 0, 1.0)
        for i, n in enumerate(lengths)
    ]


@torch.no_grad()
def _plain_log_probabilities(model: Any, row: Row) -> Tensor:
    forget_rows(model)
    batch = make_batch([row], model.device, with_positions=False)
    logits = model(**batch.inputs, use_cache=False).logits[0]
    return -cross_entropy(logits[batch.rows].float(), batch.targets, reduction="none")


@torch.no_grad()
def _differs(forward: Forward, rows: Sequence[Row], expected: Tensor) -> float:
    batch = forward.batch(rows)
    with forward.attention(rows):
        logits = forward.head(forward.hidden(batch)[batch.rows])
    got = -cross_entropy(logits.float(), batch.targets, reduction="none")
    return float((got - expected).abs().max())
