"""What a plan says of a run: a line for each step, and what its items can show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from retain.steps.step import Step


@dataclass(frozen=True, kw_only=True)
class Line:
    """One step of a plan.

    Attributes:
        step: The step.
        is_cached: Whether it is finished and will be reused.
        tokens: Computed in it; None where that is not what it does.
        trained_tokens: Whose loss counts.
        trainable_parameters: That move in it.
        seconds: Expected; 0 for a cached step.
        memory_bytes: Expected at most.
        disk_bytes: That stay.
    """

    step: Step
    is_cached: bool
    tokens: int | None = None
    trained_tokens: int | None = None
    trainable_parameters: int | None = None
    seconds: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0


class Visible(NamedTuple):
    """What a task's items can show, before any is scored.

    Attributes:
        num_items: `report` items.
        change: The smallest true change of an accuracy that they show with power 80 %, if a fifth
            of them comes out otherwise; see `retain.measure.statistics.planned_visible_change`.
    """

    num_items: int
    change: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        lines: A line for each step, in the order they would be done.
        snapshot_bytes: The most that snapshots of one running step take besides.
        copy_bytes: Memory besides, while a snapshot is written in the background; not taken
            where it is more than half of the free or a sixteenth of all memory.
        notes: What a reader must know: rough counts, what happens in an arm.
        visible: Task to the smallest change of an accuracy that its items will show (`Visible`).
    """

    lines: tuple[Line, ...]
    snapshot_bytes: int
    copy_bytes: int = 0
    notes: tuple[str, ...] = field(default=())
    visible: Mapping[str, "Visible"] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of all new steps."""
        return sum(line.seconds for line in self.lines)

    @property
    def chain_seconds(self) -> float:
        """Of the longest chain of steps that wait for each other: the least, with any workers."""
        ends: dict[Step, float] = {}
        for line in self.lines:
            begins = max((ends.get(one, 0.0) for one in line.step.inputs.values()), default=0.0)
            ends[line.step] = begins + line.seconds
        return max(ends.values(), default=0.0)

    @property
    def memory_bytes(self) -> int:
        """The most that one step takes."""
        return max((line.memory_bytes for line in self.lines), default=0)

    @property
    def final_disk_bytes(self) -> int:
        """That new steps leave behind."""
        return sum(line.disk_bytes for line in self.lines)

    @property
    def peak_disk_bytes(self) -> int:
        """That new steps take at most while they run."""
        return self.final_disk_bytes + self.snapshot_bytes
