"""A GGUF file turned into a plain Hugging Face folder with float32 weights."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retain.errors import ModelError

Progress = Callable[[int, int, str], None]
FOREIGN = ("_model_name_or_path", "quantization_config")
"""Fields of a configuration that speak of the GGUF file instead of the model."""


def dequantise(gguf: Path, folder: Path, *, progress: Progress | None = None) -> None:
    """Write ``config.json``, ``model.safetensors`` and the tokenizer that a GGUF file holds.

    Every number is the one the quantised file stands for. Weights that the architecture ties
    (embedding and head) stay tied; the chat template comes along if the file has one.

    Args:
        gguf: The file; transformers must know its architecture.
        folder: Made if it is not there.
        progress: Called with tensors done, tensors in all, and what is under way.

    Raises:
        ModelError: If transformers cannot read the file, or weights are missing in it.
    """
    with _quiet(progress, f"de-quantising {gguf.name}"):
        try:
            model, tokenizer = _read(gguf)
        except (ImportError, KeyError, NotImplementedError, OSError, ValueError) as error:
            raise ModelError(f"{gguf}: transformers cannot read it: {error}") from error
        _without_quantiser(model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)


def _read(gguf: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"gguf_file": gguf.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **place)
    for said_of_this_call in ("local_files_only", "is_local"):
        tokenizer.init_kwargs.pop(said_of_this_call, None)
    model, info = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, output_loading_info=True, **place
    )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"{gguf}: {len(missing)} weights are missing in it, such as {missing[0]}")
    return model, tokenizer


def _without_quantiser(read: Any) -> Any:
    """The same weights in a model that was never quantised: transformers refuses to save others."""
    import torch

    config = read.config
    for field in FOREIGN:
        if hasattr(config, field):
            delattr(config, field)
    with torch.device("meta"):
        model = type(read)(config)
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = read.generation_config
    return model


@contextmanager
def _quiet(progress: Progress | None, what: str) -> Iterator[None]:
    """Keep transformers' own bars and remarks off the terminal; count tensors for ours."""
    from transformers import modeling_gguf_pytorch_utils as reader
    from transformers.utils import logging

    def counted(tensors: Iterable[Any], **ignored: object) -> Iterator[Any]:
        known = list(tensors)
        for number, tensor in enumerate(known):
            if progress is not None:
                progress(number, len(known), what)
            yield tensor

    bar, shown, level = reader.tqdm, logging.is_progress_bar_enabled(), logging.get_verbosity()
    reader.tqdm = counted
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        reader.tqdm = bar
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
