"""Where a phase freezes the lowest blocks, and for how long what leaves them stays as it was."""

from collections.abc import Sequence
from dataclasses import dataclass

from retain.methods.base import HOOKS, overrides
from retain.recipe import CellPhase
from retain.steps.step import Step

IN_TRAINING = ("prepare", "penalty", "project", "after_step")
"""Hooks that act inside the train step."""


@dataclass(frozen=True)
class Frozen:
    """Phases in a row that freeze: their lowest blocks are those of the model before the first.

    Attributes:
        start: What the first of them starts from; None for the base model.
        choices: What moves in each so far.
    """

    start: Step | None
    choices: tuple[Step, ...]


def still_frozen(
    before: Frozen | None, phases: Sequence[CellPhase], model: Step | None, choice: Step | None
) -> Frozen | None:
    """How it stands after the first of ``phases``; None where states would be read only once."""
    if choice is None or not _may_keep(phases[0]):
        return None
    if before is not None:
        return Frozen(before.start, (*before.choices, choice))
    goes_on = len(phases) > 1 and _may_keep(phases[1])
    return Frozen(model, (choice,)) if goes_on else None


def _may_keep(planned: CellPhase) -> bool:
    """Whether what leaves the lowest blocks stays as it was, but for what the phase lets move."""
    acting = {hook for m in planned.methods for hook in HOOKS if overrides(m, hook)}
    allowed = planned.train.tuning == "full" and planned.train.boundary_cache is not False
    return allowed and "trainable" in acting and not acting & {*IN_TRAINING, "finish"}


def keeps_states(planned: CellPhase) -> bool:
    """Whether what the lowest blocks make of the phase's mix is kept: it is read in every epoch."""
    train = planned.train
    has_epochs = train.max_steps is None and (train.num_train_epochs or 1) > 1
    return _may_keep(planned) and bool(train.boundary_cache or has_epochs)
