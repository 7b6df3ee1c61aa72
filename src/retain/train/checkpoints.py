"""Model folders kept inside a phase, at evenly spaced optimizer steps (``evaluate.during_phase``).

Each is made whole in the step's partial folder, so that it survives a kill, and becomes part of the
step's output when the phase is done. A resume starts no later than the first one that is missing.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from retain.errors import TrainingError
from retain.steps.durable import durable_folder, remove_tree
from retain.steps.fingerprint import Json
from retain.steps.manifest import MANIFEST, faults
from retain.steps.work import Work

FOLDER = "checkpoints"
Write = Callable[[Path, Path, int], None]
"""Called with the folder to fill, where it will lie in the end, and the optimizer steps done."""


def steps_inside(number: int, num_steps: int) -> tuple[int, ...]:
    """The optimizer steps after which a checkpoint is kept: equal parts of the phase.

    Args:
        number: Checkpoints inside the phase, beside its end.
        num_steps: Optimizer steps of the phase.

    Raises:
        TrainingError: If the phase has too few steps for so many.

    >>> steps_inside(3, 40), steps_inside(2, 4), steps_inside(0, 1)
    ((10, 20, 30), (1, 2), ())
    """
    if number >= num_steps and number:
        raise TrainingError(
            f"evaluate.during_phase {number}: a phase of {num_steps} optimizer steps has "
            f"{num_steps - 1} boundaries inside; ask for fewer, or train longer"
        )
    return tuple(place * num_steps // (number + 1) for place in range(1, number + 1))


def folder_of(place: int) -> str:
    """Where a step's output keeps the checkpoint of this place, counted from 1."""
    return f"{FOLDER}/{place}"


@dataclass
class Checkpoints:
    """Keeps the checkpoints of one phase.

    Attributes:
        work: The running step.
        steps: After how many optimizer steps, rising; from `steps_inside`.
        write: Fills a model folder.
    """

    work: Work
    steps: tuple[int, ...]
    write: Write
    _missing: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._missing = {}
        for place, step in enumerate(self.steps, start=1):
            if found := faults(self._kept(place)):
                self._missing[step] = place
                if self._kept(place).exists():
                    self.work.event("checkpoint skipped", optimizer_step=step, faults=list(found))
                    remove_tree(self._kept(place))

    @property
    def first_missing(self) -> int | None:
        """The optimizer step of the first one not kept yet; None when all are."""
        return min(self._missing, default=None)

    def boundary(self, step: int) -> None:
        """After ``step`` optimizer steps: keep the model if it is time to.

        Raises:
            StoreError: If the disk is full; those kept before stay.
        """
        if step not in self._missing:
            return
        place = self._missing[step]
        final = self.work.store.path(self.work.step) / folder_of(place)
        with durable_folder(self._kept(place)) as folder:
            self.write(folder, final, step)
        del self._missing[step]
        self.work.event("checkpoint", optimizer_step=step, place=place)

    def finish(self) -> list[Mapping[str, Json]]:
        """Put them into the output; what ``facts.json`` says of them.

        They are linked, not moved: should this process die now, they are still kept.
        """
        assert not self._missing
        for place in range(1, len(self.steps) + 1):
            target = self.work.output / folder_of(place)
            shutil.copytree(self._kept(place), target, copy_function=_link)
            (target / MANIFEST).unlink()  # the step's own covers it
        return [
            {"place": place, "optimizer_step": step}
            for place, step in enumerate(self.steps, start=1)
        ]

    def _kept(self, place: int) -> Path:
        return self.work.partial / folder_of(place)


def _link(source: str, target: str) -> None:
    """A second name for a file; a copy where the disk knows no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
