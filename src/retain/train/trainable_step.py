"""Steps of kind ``trainable``: which parameters move in a phase, chosen before it starts.

Inputs: ``model`` (absent in a first phase), ``checkpoint:<phase>``. Output: ``trainable.json``: the
``names`` that move, the method's ``numbers``, ``num_parameters`` of ``total``, and ``moves``: what
fraction of each part moves, layer by layer.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from retain.errors import TrainingError
from retain.methods.base import Method
from retain.methods.given import Layers, Trainable
from retain.model.load import load_empty
from retain.steps.work import Work
from retain.train import probes
from retain.train.history import history
from retain.train.layers import layers
from retain.train.randomness import stream
from retain.train.step import start_folder

VERSION = 1
KINDS = ("attention", "mlp", "norm", "other")
OUTSIDE = ("embeddings", "final_norm", "head", "other")


def run(work: Work, *, base: Path, method: Method, device: str = "auto") -> None:
    """Ask the method which parameters move, and write their names and the numbers behind it.

    Args:
        work: The running step.
        base: Folder of the base model.
        method: The one method of the arm that chooses.
        device: Where probes are measured: ``auto``, or a device of torch.

    Raises:
        TrainingError: If it names what is not there, or nothing.
        RecipeError: If its settings match nothing in this model.
    """
    start = start_folder(work, base)
    places = layers(load_empty(start))
    settings = work.step.settings
    rng = stream(int(settings["seed"]), str(settings.get("phase", "")), method.name, "trainable")
    found = probes.measure(method.wanted_probes, base, start, device=device)
    chosen = method.trainable(places, history(work, base), found, rng)
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
        "moves": moves(places, chosen.names),
    }
    (work.output / "trainable.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    told = {
        key: chosen.numbers[key] for key in ("select", "frozen_layers") if key in chosen.numbers
    }
    work.note(
        trainable_parameters=content["num_parameters"], total_parameters=content["total"], **told
    )


def moves(places: Layers, names: Sequence[str]) -> dict[str, Any]:
    """What fraction of each part's numbers moves; None where a model has no such part.

    Returns:
        ``blocks``: for each block its ``attention``, ``mlp``, ``norm`` and ``other``; and
        ``embeddings``, ``final_norm``, ``head``, ``other`` outside them.
    """
    moving = set(names)

    def fraction(part: Sequence[str]) -> float | None:
        total = sum(places.sizes[name] for name in part)
        return sum(places.sizes[name] for name in part if name in moving) / total if total else None

    return {
        "blocks": [
            {kind: fraction(getattr(block, kind)) for kind in KINDS} for block in places.blocks
        ],
        **{part: fraction(getattr(places, part)) for part in OUTSIDE},
    }
