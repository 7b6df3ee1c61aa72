"""A GGUF file of the user's as a plain Hugging Face folder, converted once into the cache.

Only files that the command line vouched for come here (``retain.model.reference.trust``).
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from retain.embedded.cache import cache_dir, is_whole, settle
from retain.errors import ModelError
from retain.model.reference import file_sha256
from retain.steps.durable import seal


def converted(file: Path) -> Path:
    """The folder made of ``file``: float32 safetensors and the tokenizer it carries.

    Raises:
        ModelError: If it is not a GGUF file of an architecture that transformers reads.
    """
    target = cache_dir() / "models" / f"gguf-{file_sha256(file)[:32]}"

    def make(fresh: Path) -> Path:
        place = {"gguf_file": file.name, "local_files_only": True}
        try:
            model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **place)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **place)
        except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
            reason = str(error).strip() or type(error).__name__
            raise ModelError(f"{file} does not open as a GGUF model: {reason}") from error
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        seal(fresh)
        return fresh

    return settle(target, good=lambda: is_whole(target), make=make)
