"""Scores and scored items, and the names they are told apart by."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retain.evaluate.item_values import ItemValues
from retain.measure.item_scores import Formula, ItemFigures

if TYPE_CHECKING:
    from retain.pipeline.graph import Row

Floats = NDArray[np.float64]

PHASE_TASK = "phase:"
"""What the name of a phase's own held-out task starts with."""

BASE_PHASE = "base"
"""What scores.csv calls the phase of row 0."""


class TaskKey(NamedTuple):
    """One way to score one task."""

    task: str
    metric: str
    num_fewshot: int


class Checkpoint(NamedTuple):
    """One arm of one seed after one phase; phase_index 0 is the base model."""

    variant: str
    arm: str
    seed: int
    phase_index: int


def checkpoint(row: "Row") -> Checkpoint:
    """The place of a row of the graph in every table."""
    return Checkpoint(row.variant, row.arm, row.seed, row.phase_index)


class ItemKey(NamedTuple):
    """Where a set of scored items belongs."""

    checkpoint: Checkpoint
    task: TaskKey


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One score: the columns of scores.csv, and what the page needs beside them.

    Attributes:
        phase: Name of the phase just done; "base" for row 0.
        value: In ``unit``, as the metric gives it (not turned round).
        stderr: Of the value, in ``unit``; None where it is not known.
        role: "report" rows are printed; "select" rows serve the choice only.
        unit: "fraction" for accuracies, "bits_per_byte", "chrf" and so on.
        chance: Score of guessing on these items; None where there is no such thing.
        majority: Score of always giving the commonest answer on these items; None likewise.
    """

    variant: str
    arm: str
    seed: int
    phase_index: int
    phase: str
    task: str
    metric: str
    num_fewshot: int
    value: float
    stderr: float | None
    num_items: int
    higher_is_better: bool
    is_main: bool
    role: str = "report"
    unit: str = "fraction"
    chance: float | None = None
    majority: float | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that was scored."""
        return Checkpoint(self.variant, self.arm, self.seed, self.phase_index)

    @property
    def key(self) -> TaskKey:
        """Which task, by which metric, at how many shots."""
        return TaskKey(self.task, self.metric, self.num_fewshot)


@dataclass(frozen=True, kw_only=True)
class InsideScore(ScoreRow):
    """One score of a checkpoint inside a phase: the columns of during.csv.

    Attributes:
        optimizer_step: Of the phase, after which the checkpoint was kept.
        part: How much of the phase that is, such as "25%".
    """

    optimizer_step: int
    part: str


@dataclass(frozen=True, kw_only=True)
class Items:
    """The scored items behind one score; all arrays have one entry per item.

    Attributes:
        hashes: sha256 of each document; what pairs two checkpoints.
        roles: "select" or "report".
        groups: Source item; items of one group are resampled together.
        values: Above the line of the score: 1 or 0 for an accuracy, bits for bits per byte.
        weights: Below the line: bytes for bits per byte; None means 1 each.
        by_source: Whether every source item weighs alike, however many items it has.
        formula: Where a score is made of several ratios: from them to it. ``values`` then have a
            row for each, shape (K, I).
    """

    hashes: NDArray[np.str_]
    roles: NDArray[np.str_]
    groups: NDArray[np.str_]
    values: Floats
    weights: Floats | None = None
    by_source: bool = False
    formula: Formula | None = None

    def of_role(self, role: str) -> "Items":
        """The items of one role, ordered by hash so that nothing depends on the file's order."""
        (index,) = np.nonzero(self.roles == role)
        return self.at(index[np.argsort(self.hashes[index], kind="stable")])

    def at(self, index: NDArray[np.intp]) -> "Items":
        """The items at these places, in their order."""
        return replace(
            self,
            hashes=self.hashes[index],
            roles=self.roles[index],
            groups=self.groups[index],
            values=self.values[..., index],
            weights=None if self.weights is None else self.weights[index],
        )

    @property
    def figures(self) -> ItemFigures:
        """What the score of these items is made of."""
        kept = ItemValues(self.values, self.weights, self.by_source, self.formula)
        return kept.figures(self.groups)


def stop_name(arm: str, part: str) -> str:
    """Name of an arm that stopped inside the last phase.

    >>> stop_name("low_rate", "25%")
    'low_rate@25%'
    """
    return f"{arm}@{part}"


def phase_task(phase: str) -> str:
    """Name of the task made of a phase's held-out split.

    >>> phase_task("medicine")
    'phase:medicine'
    """
    return PHASE_TASK + phase
