"""Write a model folder that transformers and PEFT open without us."""

import shutil
from pathlib import Path
from typing import Any

from retain.model.reference import tokenizer_files


def save(model: Any, tokenizer_from: Path, output: Path, card: str) -> None:
    """Write ``model`` (safetensors), the tokenizer's files as they were, and a card.

    The tokenizer is copied, never written again: another version of the library would change
    bytes, and with them the fingerprint of whatever reads it.

    Args:
        model: A decoder of transformers; a tied head is written once.
        tokenizer_from: The model folder whose tokenizer it uses.
        output: A folder to be made, or to be filled.
        card: The text of README.md.
    """
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output)
    for file in tokenizer_files(tokenizer_from):
        target = output / file.relative_to(tokenizer_from)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
    (output / "README.md").write_text(card, "utf-8")
