"""Steps of kind ``finish``: the weights that leave a phase, where a method changes them afterwards.

Inputs: ``model`` (the train step of the phase), ``checkpoint:<phase>`` for each earlier one.
Output: ``model/`` as of a train step, ``facts.json``.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from retain.errors import TrainingError
from retain.methods.base import Method
from retain.methods.given import History
from retain.model.auto_class import auto_class
from retain.model.load import load_model
from retain.model.save import save
from retain.steps.work import Work
from retain.train.card import CardFacts, Opening, model_card
from retain.train.history import history
from retain.train.step import MODEL

VERSION = 1


def run(work: Work, *, base: Path, method: Method, card: CardFacts | None = None) -> None:
    """Write the trained model with the weights that the method gives it.

    Settings: ``phase``, ``history`` (names of the earlier phases).

    Args:
        work: The running step.
        base: Folder of the base model.
        method: The method that finishes the phase.
        card: What the model's card says besides the figures.

    Raises:
        TrainingError: If the method names what the model does not have, or gives a wrong shape.
    """
    settings = work.step.settings
    trained = work.input("model", MODEL)
    weights = history(work, base, last=(str(settings["phase"]), trained))
    model = load_model(trained)
    changed = replace_weights(method, dict(model.named_parameters()), weights)
    facts = {"changed_tensors": changed, "phase": str(settings["phase"])}
    shown = card or CardFacts(base.name, (method.entry(),))
    opening = Opening(auto_class(trained))
    text = model_card(work.step.name, shown.base, facts, shown.methods, opening)
    save(model, trained, work.output / MODEL, text)
    (work.output / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    work.note(changed_tensors=changed)


@torch.no_grad()
def replace_weights(method: Method, parameters: Mapping[str, Tensor], weights: History) -> int:
    """Put what ``finish`` gives into the parameters; how many tensors it gave.

    Raises:
        TrainingError: If a name is unknown, or a shape differs.
    """
    changed = 0
    for name, value in method.finish(weights) or ():
        if name not in parameters:
            raise TrainingError(f"{method.name}: finish gave '{name}', which the model lacks")
        if value.shape != parameters[name].shape:
            raise TrainingError(
                f"{method.name}: finish gave '{name}' of shape {tuple(value.shape)}; the model's "
                f"is {tuple(parameters[name].shape)}"
            )
        parameters[name].copy_(value)
        changed += 1
    return changed
