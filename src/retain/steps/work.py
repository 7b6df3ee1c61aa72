"""What a running step is given: its inputs, a folder to fill, and who listens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from retain.errors import Interrupted, StoreError
from retain.steps.fingerprint import Json, plain_copy
from retain.steps.step import Step

if TYPE_CHECKING:
    from retain.steps.store import Store

Progress = Callable[[float, float, str, str], None]
"""Called with done, total, text, unit."""
Figures = Callable[[int, Mapping[str, float]], None]
"""Called with the number of a point and what was measured at it."""


def _never() -> bool:
    return False


@dataclass
class Work:
    """The hands of a step while it runs; made by ``Store.begin``.

    Attributes:
        step: What is to be done.
        output: Empty folder; all that is in it when the step ends becomes the step's result.
        partial: Folder that survives a kill: snapshots live here. Removed when the step is done.
        store: Where the inputs are.
        stop: True once a signal asked to stop; the step then saves and raises ``Interrupted``.
        facts: What ``note`` collected.
    """

    step: Step
    output: Path
    partial: Path
    store: "Store"
    stop: Callable[[], bool] = _never
    on_event: Callable[..., None] | None = None
    on_progress: Progress | None = None
    on_figures: Figures | None = None
    facts: dict[str, Json] = field(default_factory=dict)

    def input(self, role: str, name: str = "") -> Path:
        """A verified file of an input step, or with a folder's name (or none) that whole folder.

        Raises:
            StoreError: If the step has no such input, or the input no such file.
            DamagedStepError: If the content is not what was stored; the executor computes it again.
        """
        if role not in self.step.inputs:
            known = ", ".join(sorted(self.step.inputs)) or "none"
            raise StoreError(f"{self.step.folder}: no input '{role}'. Inputs: {known}.")
        return self.store.open(self.step.inputs[role], name)

    def event(self, kind: str, /, **fields: Json) -> None:
        """Add a line to the run's journal."""
        if self.on_event is not None:
            self.on_event(kind, step=self.step.folder, **fields)

    def progress(self, done: float, total: float, text: str = "", unit: str = "") -> None:
        """Move the progress bar.

        Args:
            done: How much is done, in units.
            total: How much there is; 0 when unknown.
            text: Short state to show beside the bar, such as the loss.
            unit: What is counted, in the plural: ``steps``, ``items``.
        """
        if self.on_progress is not None:
            self.on_progress(done, total, text, unit)

    def figures(self, number: int, values: Mapping[str, float]) -> None:
        """Tell whoever draws curves of one point, such as an optimizer step."""
        if self.on_figures is not None:
            self.on_figures(number, values)

    def note(self, **facts: Json) -> None:
        """Keep facts in ``record.json`` (device, threads, tokens): recorded, never hashed.

        Raises:
            RecipeError: If a fact is not JSON (see ``canonical``).
        """
        self.facts.update(plain_copy(facts, f"{self.step.folder}: note"))

    def check_stop(self) -> None:
        """Leave if a signal asked to; for steps that have nothing to save first.

        Raises:
            Interrupted: If ``stop()`` is true.
        """
        if self.stop():
            raise Interrupted(f"{self.step.folder}: stopped; the same command does it again")
