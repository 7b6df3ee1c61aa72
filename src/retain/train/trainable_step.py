"""Steps of kind ``trainable``: which parameters move in a phase, chosen before it starts.

Inputs: ``model`` (absent in a first phase), ``checkpoint:<phase>``. Output: ``trainable.json``.
"""

import json
from dataclasses import asdict
from pathlib import Path

from retain.errors import TrainingError
from retain.methods.base import Method, Trainable
from retain.model.load import load_empty
from retain.steps.work import Work
from retain.train.history import history
from retain.train.layers import layers
from retain.train.randomness import stream
from retain.train.step import start_folder

VERSION = 1


def run(work: Work, *, base: Path, method: Method) -> None:
    """Ask the method which parameters move, and write their names and the numbers behind it.

    Args:
        work: The running step.
        base: Folder of the base model.
        method: The one method of the arm that chooses.

    Raises:
        TrainingError: If it names what is not there, or nothing.
        RecipeError: If its settings match nothing in this model.
    """
    places = layers(load_empty(start_folder(work, base)))
    settings = work.step.settings
    rng = stream(int(settings["seed"]), str(settings.get("phase", "")), method.name, "trainable")
    chosen = method.trainable(places, history(work, base), {}, rng)
    if chosen is None:
        chosen = Trainable(names=places.names)
    if unknown := sorted(set(chosen.names) - set(places.names)):
        raise TrainingError(
            f"{method.name}: '{unknown[0]}' is not a parameter of this model; they are called "
            f"like '{places.names[0]}'"
        )
    if not chosen.names:
        raise TrainingError(f"{method.name}: no parameter is left to train")
    content = {
        **asdict(chosen),
        "num_parameters": sum(places.sizes[name] for name in chosen.names),
        "total": sum(places.sizes.values()),
    }
    (work.output / "trainable.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    work.note(trainable_parameters=content["num_parameters"], total_parameters=content["total"])
