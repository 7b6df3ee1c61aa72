"""Where the methods of an arm act, and what each phase then trains on and how."""

from collections.abc import Sequence
from dataclasses import replace

from retain.errors import RecipeError
from retain.methods.base import HOOKS, Method, overrides
from retain.methods.given import Part, PlannedPhase
from retain.recipe.arm import Arm
from retain.recipe.faults import unknown
from retain.recipe.model import Phase
from retain.recipe.train import Train

PHASE_HOOKS = tuple(hook for hook in HOOKS if hook != "plan")


def start(arm: Arm, phases: Sequence[str]) -> int:
    """The index of the first phase in which the arm differs from plain training."""
    if arm.from_phase is None:
        return min(1, len(phases) - 1)
    if arm.from_phase not in phases:
        raise RecipeError(unknown("phase", arm.from_phase, phases))
    return list(phases).index(arm.from_phase)


def acts_in(method: Method, arm: Arm, phases: Sequence[str]) -> frozenset[int]:
    """The indices of the phases in which ``method`` acts.

    Raises:
        RecipeError: If it names a phase that is not there.
    """
    if method.phases == "all":
        return frozenset(range(len(phases)))
    if method.phases == "after_first":
        return frozenset(range(start(arm, phases), len(phases)))
    for name in method.phases:
        if name not in phases:
            raise RecipeError(unknown("phase", name, phases))
    return frozenset(phases.index(name) for name in method.phases)


def planner(arm: Arm) -> Method | None:
    """The method of the arm that changes which phases there are, if one does."""
    return next((method for method in arm.methods if overrides(method, "plan")), None)


def plan(arm: Arm, phases: Sequence[Phase]) -> tuple[PlannedPhase, ...]:
    """The phases an arm runs, with the arm's ``train`` values applied where it acts.

    Raises:
        RecipeError: If a method's plan cannot be made.
    """
    names = [phase.name for phase in phases]
    planned: tuple[PlannedPhase, ...] = tuple(
        PlannedPhase(
            name=phase.name,
            index=index + 1,
            train=(train := phase.train.model_dump()),
            parts=(Part(phase=phase.name, train=train),),
        )
        for index, phase in enumerate(phases)
    )
    first = start(arm, names)
    lead = planner(arm)
    if lead is not None:
        planned, first = lead.plan(planned) or planned, 0
    return tuple(
        _changed(phase, arm) if index >= first else phase for index, phase in enumerate(planned)
    )


def _changed(phase: PlannedPhase, arm: Arm) -> PlannedPhase:
    """The phase with the arm's training values."""

    def change(train: object) -> dict[str, object]:
        return Train.model_validate(train).changed(arm.train).model_dump()

    if not arm.train:
        return phase
    parts = tuple(replace(part, train=change(part.train)) for part in phase.parts)
    return replace(phase, train=change(phase.train), parts=parts)


def active(method: Method, arm: Arm, planned: Sequence[PlannedPhase], index: int) -> bool:
    """Whether ``method`` leaves a trace in this phase: it acts there and has a hook that does."""
    names = tuple(phase.name for phase in planned)
    has_hook = any(overrides(method, hook) for hook in PHASE_HOOKS)
    return has_hook and index in acts_in(method, arm, names)
