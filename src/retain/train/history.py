"""The weights of earlier checkpoints."""

from pathlib import Path

from retain.methods.given import History
from retain.model.tensors import FolderTensors
from retain.steps.work import Work

CHECKPOINT = "checkpoint:"


def history(work: Work, base: Path, last: tuple[str, Path] | None = None) -> History:
    """The base model and the checkpoints that are inputs of a step, oldest first.

    Roles are ``checkpoint:<phase>``, their order is ``settings["history"]`` (phase names).

    Args:
        work: The running step.
        base: The base model's folder.
        last: Phase and folder of a checkpoint to put at the end.
    """
    phases = [str(phase) for phase in work.step.settings.get("history") or ()]
    folders = {phase: work.input(f"{CHECKPOINT}{phase}", "model") for phase in phases}
    if last is not None:
        folders[last[0]] = last[1]
    return History(
        base=FolderTensors(base),
        checkpoints={phase: FolderTensors(folder) for phase, folder in folders.items()},
    )
