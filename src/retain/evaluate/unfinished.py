"""What a killed ``retain eval`` had scored, kept inside its folder of results until it is done."""

import json
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from retain.evaluate.engine import Engine
from retain.model.reference import identity
from retain.steps.durable import remove_tree

UNFINISHED = ".unfinished"
DIGITS = 16


def unfinished_folder(output: Path, reference: str, engine: Engine) -> Path:
    """Where the finished batches of a model are kept; another one for whatever changes a score.

    What is asked is told apart by the ledger itself.

    Args:
        output: The folder of results.
        reference: The model, as it was named.
        engine: The same model, opened.
    """
    facts = [
        identity(reference)["sha256"],
        engine.precision,
        str(engine.model.device),
        [version(name) for name in ("torch", "transformers")],
    ]
    digest = sha256(json.dumps(facts).encode()).hexdigest()
    return output / UNFINISHED / digest[:DIGITS]


def forget_unfinished(output: Path) -> None:
    """Remove what is kept in a folder of results, once these are written."""
    if (output / UNFINISHED).is_dir():
        remove_tree(output / UNFINISHED)
