"""What cannot be trained by several processes, refused before anything runs."""

from collections.abc import Iterable

from retain.errors import RecipeError, TrainingError
from retain.methods.base import overrides
from retain.model.auto_class import has_encoder
from retain.model.reference import config_folder
from retain.pipeline.frozen import IN_TRAINING
from retain.recipe import Cell, CellPhase


def check_together(cells: Iterable[Cell]) -> None:
    """Refuse what several processes cannot do here; loads torch only where there are several.

    Raises:
        RecipeError: Names the arm, the phase and what to do.
    """
    fitting: set[int] = {1}
    for cell in cells:
        for phase in cell.phases:
            place = f"arm '{cell.arm}', phase '{phase.name}'"
            if phase.train.shard:
                _check_shard(cell, phase, place)
            if phase.train.processes not in fitting:
                _check_number(phase.train.processes, place)
                fitting.add(phase.train.processes)


def _check_number(processes: int, place: str) -> None:
    from retain.train.ranks import device_for

    try:
        device_for(processes)
    except TrainingError as error:
        raise RecipeError(f"{place}: {error}") from error


def _check_shard(cell: Cell, phase: CellPhase, place: str) -> None:
    hooks = (*IN_TRAINING, "trainable")
    for method in phase.methods:
        if acting := [hook for hook in hooks if overrides(method, hook)]:
            raise RecipeError(
                f"{place}: {method.name} acts on whole weights or gradients ({', '.join(acting)}), "
                "and train.shard divides them among processes. Leave shard out: processes alone "
                "work with every method"
            )
    folder = config_folder(cell.recipe.model, cell.recipe.revision)
    if folder is not None and has_encoder(folder):
        raise RecipeError(
            f"{place}: train.shard divides the blocks of decoders, and '{cell.recipe.model}' has "
            "an encoder. Leave shard out: processes alone work with it"
        )
