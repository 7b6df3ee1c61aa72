"""Write a model folder that transformers and PEFT open without us."""

import shutil
from pathlib import Path
from typing import Any

from retain.model import adapters
from retain.model.load import Loaded, quiet
from retain.model.reference import tokenizer_files

PAPERS = ("LICEN[CS]E*", "NOTICE*", "*TERMS*", "retain_origin.json")


def save(model: Any, tokenizer_from: Path, output: Path, card: str) -> None:
    """Write ``model`` (safetensors), the tokenizer's files as they were, and a card.

    The tokenizer is copied, never written again: another version of the library would change
    bytes, and with them the fingerprint of whatever reads it. Licences, notices and the origin of
    the weights come along, as some licences ask.

    Args:
        model: A decoder of transformers; a tied head is written once.
        tokenizer_from: The model folder whose tokenizer it uses.
        output: A folder to be made, or to be filled.
        card: The text of README.md.
    """
    output.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.save_pretrained(output)
    save_papers(tokenizer_from, output, card)


def save_adapter(model: Any, loaded: Loaded, output: Path, final: Path, card: str) -> None:
    """Write the adapter of ``model`` as PEFT does, the tokenizer's files, and a card.

    Args:
        model: A decoder with an adapter.
        loaded: Where it came from.
        output: A folder to be made, or to be filled.
        final: Where ``output`` will be moved to.
        card: The text of README.md.
    """
    output.mkdir(parents=True, exist_ok=True)
    adapters.write(model, output, loaded.base, final)
    save_papers(loaded.folder, output, card)


def save_papers(tokenizer_from: Path, output: Path, card: str) -> None:
    """Beside weights: tokenizer, licences, notices, origin, and the card."""
    for weights in output.glob("*.safetensors"):  # written readable by their owner alone
        weights.chmod(next(output.glob("*config.json")).stat().st_mode)
    papers = [file for pattern in PAPERS for file in sorted(tokenizer_from.glob(pattern))]
    for file in [*tokenizer_files(tokenizer_from), *papers]:
        target = output / file.relative_to(tokenizer_from)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
    (output / "README.md").write_text(card, "utf-8")
