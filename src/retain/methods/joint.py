"""Joint: train on all phases' data at once, a reference that knows no order.

Every example keeps its own phase's mask, and each phase gives the examples that its own training
would have drawn; only their order changes. Steps are the sum of the phases'. A reference, not a
bound: other arms may end above it.

Limits: there is one checkpoint, scored as the last row; what needs earlier rows is empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from retain.errors import RecipeError
from retain.methods.base import Method
from retain.methods.given import PlannedPhase

RATE = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "warmup_ratio", "weight_decay",
    "min_lr_ratio", "num_cycles", "decay_ratio", "optimizer", "adam_beta1", "adam_beta2",
    "adam_epsilon", "max_grad_norm",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Joint(Method):
    """One phase over the union of all phases.

    Attributes:
        train_from: The phase whose rate and schedule are used. None takes the phase with most
            steps; where steps follow from epochs and the phases' rates differ, it must be said.
    """

    name = "joint"

    phases: Literal["after_first", "all"] | tuple[str, ...] = "all"
    train_from: str | None = None

    def faults(self) -> list[tuple[str, str]]:
        """Joint acts everywhere or not at all."""
        if self.phases == "all":
            return []
        return [("phases", f"joint is one phase over all: must be all; got {self.phases!r}")]

    def plan(self, phases: Sequence[PlannedPhase]) -> tuple[PlannedPhase, ...]:
        """The one phase; its notes say which steps and which rate were taken.

        Raises:
            RecipeError: If the phase that gives the rate is unknown or cannot be told.
        """
        lead = self._lead(phases)
        steps = [phase.train["max_steps"] for phase in phases]
        known = all(step is not None for step in steps)
        train = dict(lead.train)
        if known:
            train |= {"max_steps": sum(steps), "num_train_epochs": None}
        counted = f"{sum(steps)} steps" if known else "as many steps as the phases together"
        note = (
            f"joint: {counted} over {', '.join(phase.name for phase in phases)}; "
            f"learning rate {train['learning_rate']:g} and schedule of {lead.name}"
        )
        parts = tuple(part for phase in phases for part in phase.parts)
        return (replace(phases[-1], name="joint", train=train, parts=parts, notes=(note,)),)

    def _lead(self, phases: Sequence[PlannedPhase]) -> PlannedPhase:
        """The phase that gives the rate and the schedule."""
        if self.train_from is not None:
            named = [phase for phase in phases if phase.name == self.train_from]
            if not named:
                known = ", ".join(phase.name for phase in phases)
                raise RecipeError(f"train_from: no phase '{self.train_from}'; phases: {known}")
            return named[0]
        if all(phase.train["max_steps"] is not None for phase in phases):
            return max(phases, key=lambda phase: phase.train["max_steps"])
        if len({tuple(phase.train[key] for key in RATE) for phase in phases}) == 1:
            return phases[0]
        raise RecipeError(
            "the phases' rates or schedules differ, and with num_train_epochs it is not known "
            "which has most steps before the data is read; name the phase to take them from: "
            f"{{method: joint, train_from: {phases[0].name}}}"
        )
