"""What does not work with an encoder beside the decoder, refused before anything runs."""

from collections.abc import Iterable

from retain.errors import RecipeError
from retain.methods.base import Method, overrides
from retain.model.auto_class import has_encoder
from retain.model.reference import config_folder
from retain.recipe import Cell, CellPhase

OF_DECODERS = ("rehearse", "penalty", "remember")
"""Hooks that call the model themselves, as one calls a decoder."""


def check_encoders(cells: Iterable[Cell]) -> None:
    """Refuse what a cell asks of a model with an encoder that only a decoder can do.

    Raises:
        RecipeError: Names the model, the phase, and the method or setting.
    """
    known: dict[tuple[str, str | None], bool] = {}
    for cell in cells:
        model = (cell.recipe.model, cell.recipe.revision)
        if model not in known:
            folder = config_folder(*model)
            known[model] = folder is not None and has_encoder(folder)
        if known[model]:
            if probes := cell.recipe.evaluate.probes:
                raise RecipeError(
                    f"evaluate.probes: {', '.join(probes)} read a decoder's layers, and "
                    f"'{cell.recipe.model}' has an encoder. Leave probes out"
                )
            for phase in cell.phases:
                _check(cell.recipe.model, cell.arm, phase)


def _check(model: str, arm: str, phase: CellPhase) -> None:
    place = f"arm '{arm}', phase '{phase.name}'"
    for method in phase.methods:
        if calling := [*_hooks(method), *method.wanted_probes]:
            raise RecipeError(
                f"{place}: {method.name} calls the model as a decoder ({', '.join(calling)}), and "
                f"'{model}' has an encoder. What works with one: replay, joint, freezing by number "
                "or name, and methods that change weights alone"
            )
    for train in (part.train for part in phase.parts):
        if not train.completion_only_loss:
            raise RecipeError(
                f"{place}: completion_only_loss: false trains the tokens of prompts, and the "
                f"encoder of '{model}' reads them: what it reads has no loss. Leave it out"
            )


def _hooks(method: Method) -> list[str]:
    return [] if method.with_encoder else [hook for hook in OF_DECODERS if overrides(method, hook)]
