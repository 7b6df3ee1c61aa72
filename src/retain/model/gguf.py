"""A GGUF file of the user's as a plain Hugging Face folder, converted once into the cache.

Only files that the command line vouched for come here (``retain.model.reference.trust``).
"""

from pathlib import Path

from retain.embedded.cache import cache_dir, is_whole, settle
from retain.model.dequantise import dequantise
from retain.model.reference import file_sha256
from retain.steps.durable import seal


def converted(file: Path) -> Path:
    """The folder made of ``file``: float32 safetensors and the tokenizer it carries.

    Raises:
        ModelError: If it is not a GGUF file of an architecture that transformers reads.
        EmbeddedError: If the cache folder cannot be written.
    """
    target = cache_dir() / "models" / f"gguf-{file_sha256(file)[:32]}"

    def make(temporary: Path) -> Path:
        folder = temporary / "model"
        dequantise(file, folder)
        seal(folder)
        return folder

    return settle(target, good=lambda: is_whole(target), make=make)
