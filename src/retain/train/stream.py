"""The training sequences in the order they are learnt, and how a step's are computed together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retain.errors import TrainingError
from retain.methods.given import Tokenised

if TYPE_CHECKING:
    from retain.train.below import Below

COLUMNS = ("step", "example_id", "source", "input_ids", "trained", "weight")


@dataclass(frozen=True)
class Row:
    """One training sequence.

    Attributes:
        example_id: Which example it is; of a packed block, the block's id.
        source: Its role in the mix: ``new``, ``past:<phase>``, ...
        input_ids: int64, the tokens.
        trained: bool, whether each token is a target whose loss counts.
        weight: What each trained token weighs in the loss.
    """

    example_id: str
    source: str
    input_ids: npt.NDArray[np.int64]
    trained: npt.NDArray[np.bool_]
    weight: float

    @property
    def num_tokens(self) -> int:
        """Length of the sequence."""
        return len(self.input_ids)

    @cached_property
    def num_trained_tokens(self) -> int:
        """Tokens whose loss counts."""
        return int(self.trained.sum())


@dataclass(frozen=True)
class Stream:
    """All optimizer steps of a phase: the rows of each, in order.

    Attributes:
        steps: The rows.
        below: What the lowest blocks make of them, where it was kept.
    """

    steps: tuple[tuple[Row, ...], ...]
    below: "Below | None" = None

    @cached_property
    def num_tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(row.num_tokens for rows in self.steps for row in rows)

    @cached_property
    def num_trained_tokens(self) -> int:
        """Tokens whose loss counts, over all steps."""
        return sum(row.num_trained_tokens for rows in self.steps for row in rows)

    @cached_property
    def longest_tokens(self) -> int:
        """Length of the longest sequence."""
        return max((row.num_tokens for rows in self.steps for row in rows), default=0)


def read_stream(path: Path) -> Stream:
    """Read ``stream.parquet``.

    Raises:
        TrainingError: If a column is missing, or the optimizer steps are not 0, 1, 2, ... in order.
    """
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise TrainingError(f"{path}: column {', '.join(missing)} is missing; make the mix again")
    tokens, bounds = _lists(table, "input_ids")
    trained, _ = _lists(table, "trained")
    ids = table["example_id"].to_pylist()
    sources = table["source"].to_pylist()
    weights = table["weight"].to_pylist()
    numbers = table["step"].to_pylist()
    steps: list[list[Row]] = []
    for i, number in enumerate(numbers):
        if number == len(steps):
            steps.append([])
        if number != len(steps) - 1:
            raise TrainingError(
                f"{path}: row {i} has optimizer step {number} where {len(steps) - 1} or "
                f"{len(steps)} is due; make the mix again"
            )
        part = slice(bounds[i], bounds[i + 1])
        steps[-1].append(
            Row(ids[i], sources[i], tokens[part].astype(np.int64), trained[part], weights[i])
        )
    return Stream(tuple(tuple(rows) for rows in steps))


def check_stream(stream: Stream, vocab_size: int, context_tokens: int) -> None:
    """Refuse what cannot be trained on, before the first step.

    Args:
        stream: What is to be learnt.
        vocab_size: Tokens that the model embeds.
        context_tokens: Longest sequence it takes; 0 when unknown.

    Raises:
        TrainingError: If nothing is trained in all or in one step, a weight is not a positive
            number, or a sequence does not fit the model.
    """
    num_sequences = sum(len(rows) for rows in stream.steps)
    if stream.num_trained_tokens == 0:
        raise TrainingError(
            f"nothing to train on: {len(stream.steps)} optimizer steps, {num_sequences} sequences, "
            f"{stream.num_tokens} tokens, 0 trained tokens. Are the answers cut off by max_length?"
        )
    for number, rows in enumerate(stream.steps):
        total = sum(row.num_trained_tokens * row.weight for row in rows)
        if not (0 < total < float("inf")) or any(row.weight < 0 for row in rows):
            raise TrainingError(
                f"optimizer step {number + 1} has loss weight {total} over its "
                f"{sum(row.num_trained_tokens for row in rows)} trained tokens ({_ids(rows)}); "
                "it must be a positive number"
            )
        for row in rows:
            _check_row(row, vocab_size, context_tokens)


def micro_batches(rows: Sequence[Row], max_tokens: int) -> list[list[Row]]:
    """Divide an optimizer step into groups that are computed at once, as few as fit.

    First fit, longest first; the same rows give the same groups.

    Args:
        rows: The step's sequences.
        max_tokens: Of a group together; a longer sequence is a group by itself.
    """
    counting = [row for row in rows if row.num_trained_tokens]  # the others have no gradient
    groups: list[list[Row]] = []
    room: list[int] = []
    for row in sorted(counting, key=lambda row: -row.num_tokens):
        place = next((i for i, free in enumerate(room) if free >= row.num_tokens), len(groups))
        if place == len(groups):
            groups.append([])
            room.append(max_tokens)
        groups[place].append(row)
        room[place] -= row.num_tokens
    return groups


def memory_rows(examples: Sequence[Tokenised]) -> list[Row]:
    """Examples that a method kept, as sequences of a step; every trained token weighs 1."""
    return [
        Row(one.id, "memory", np.array(one.input_ids, np.int64), np.array(one.trained, bool), 1.0)
        for one in examples
    ]


def _check_row(row: Row, vocab_size: int, context_tokens: int) -> None:
    if context_tokens and row.num_tokens > context_tokens:
        raise TrainingError(
            f"example {row.example_id} has {row.num_tokens} tokens and the model takes "
            f"{context_tokens}; lower max_length"
        )
    largest, smallest = int(row.input_ids.max()), int(row.input_ids.min())
    if largest >= vocab_size or smallest < 0:
        wrong = largest if largest >= vocab_size else smallest
        raise TrainingError(
            f"example {row.example_id} has token {wrong} and the model embeds "
            f"0..{vocab_size - 1}; the mix was made with another tokenizer"
        )
    if row.trained[0]:
        raise TrainingError(f"example {row.example_id}: its first token cannot be predicted")


def _ids(rows: Sequence[Row], most: int = 5) -> str:
    shown = ", ".join(row.example_id for row in rows[:most])
    return f"examples {shown}" + (f" and {len(rows) - most} more" if len(rows) > most else "")


def _lists(table: Any, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """A list column as one flat array and the bounds of its rows."""
    column = table[name].combine_chunks()
    offsets = column.offsets.to_numpy()
    values = column.values.to_numpy(zero_copy_only=False)
    return values, offsets.astype(np.int64)
