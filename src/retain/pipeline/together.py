"""What cannot be trained by several processes, refused before anything runs."""

from collections.abc import Iterable

from retain.errors import RecipeError, TrainingError
from retain.recipe import Cell


def check_together(cells: Iterable[Cell]) -> None:
    """Refuse more processes than can compute on this machine; loads torch only if some ask for it.

    Raises:
        RecipeError: Names the phase and what there is.
    """
    asked: dict[int, str] = {}
    for cell in cells:
        for phase in cell.phases:
            if phase.train.processes > 1:
                asked.setdefault(phase.train.processes, phase.name)
    for processes, name in asked.items():
        from retain.train.ranks import device_for

        try:
            device_for(processes)
        except TrainingError as error:
            raise RecipeError(f"phases.{name}: {error}") from error
