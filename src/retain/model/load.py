"""Open a model: any reference in, a language model with its tokenizer out."""

import logging as standard_logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer
from transformers.utils import logging

from retain.errors import ModelError
from retain.model import adapter_folder, adapters
from retain.model import precision as precisions
from retain.model.auto_class import auto_class
from retain.model.precision import Precision
from retain.model.reference import folder, trust


def _is_news(record: standard_logging.LogRecord) -> bool:
    """Not that bitsandbytes lacks an optional kernel, which it says whenever it is imported."""
    return "Failed to load CPU gemm_4bit_forward" not in str(record.msg)


standard_logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_is_news)


@dataclass(frozen=True)
class Loaded:
    """A model in memory: float32 weights, evaluation mode.

    Attributes:
        model: A language model of transformers (a decoder, or an encoder with one), or such a one
            with an adapter (PEFT).
        tokenizer: Its tokenizer.
        folder: Where both came from.
        device: Where the weights lie.
        precision: What matrix products run in, inside :meth:`autocast`.
        base: Folder of the weights below an adapter; the same as ``folder`` without one.
        quantisation: ``nf4`` where those weights have 4 bits.
    """

    model: Any
    tokenizer: Any
    folder: Path
    device: torch.device
    precision: Precision
    base: Path
    quantisation: str | None = None

    @property
    def vocab_size(self) -> int:
        """Tokens that the model embeds."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def context_tokens(self) -> int:
        """Longest sequence it was made for; 0 where its configuration does not say."""
        config = self.model.config.get_text_config()
        return getattr(config, "max_position_embeddings", None) or 0

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the model is to be called."""
        return precisions.autocast(self.precision, self.device)


def load(
    reference: str,
    *,
    precision: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    quantisation: str | None = None,
) -> Loaded:
    """Open the model that ``reference`` means.

    Args:
        reference: ``embedded:NAME``, a folder (with an adapter, or whole), a ``.gguf`` file, or a
            hub id.
        precision: ``auto``, ``fp32`` or ``bf16``.
        device: ``auto``, or a device of torch.
        revision: Commit, branch or tag of a hub id.
        quantisation: ``nf4`` opens the weights in 4 bits; an adapter knows by itself.

    Raises:
        ModelError: If it is not found, is not whole, or cannot be run.
        EmbeddedError: If an embedded package cannot be fetched.
    """
    own = Path(reference)
    path = own.resolve() if adapter_folder.is_adapter(own) else folder(reference, revision)
    on = precisions.device(device)
    chosen = precisions.resolve(precision)
    base = path
    if adapter_folder.is_adapter(path):
        base, quantisation = adapter_folder.base_folder(path), adapter_folder.quantisation(path)
    quantised = quantisation is not None
    model = load_quantised(base, on, chosen) if quantised else load_model(base).to(on)
    if base != path:
        model = adapters.put_on(model, path)
    model.eval()
    tokenizer = load_tokenizer(path)
    _check_vocabulary(model, tokenizer, path)
    return Loaded(model, tokenizer, path, on, chosen, base, quantisation)


def load_quantised(path: Path, device: torch.device, precision: Precision) -> Any:
    """The decoder in a folder with weights of 4 bits (NF4, quantised twice), by bitsandbytes.

    Raises:
        ModelError: If bitsandbytes is not installed, the model does not open, or any weight is
            missing.
    """
    if find_spec("bitsandbytes") is None:
        raise ModelError("4-bit weights need bitsandbytes: pip install 'retain[qlora]'")
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
    )
    try:
        with quiet():
            model, report = _auto(path).from_pretrained(
                path,
                dtype=torch.float32,
                quantization_config=config,
                device_map={"": device},
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=trust.remote_code,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(_cannot_open("model", path, error)) from error
    _check_whole(report, path)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # an evaluation on a CPU would pack the weights anew, with other scales, and training
            # that goes on from there reads them wrong (bitsandbytes 0.50)
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def load_model(path: Path) -> Any:
    """The decoder in a folder, float32, on the CPU, in evaluation mode.

    Raises:
        ModelError: If it does not open, or any weight is missing (a missing one would be random).
    """
    try:
        with quiet():
            model, report = _auto(path).from_pretrained(
                path,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=trust.remote_code,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(_cannot_open("model", path, error)) from error
    _check_whole(report, path)
    return model.eval()


def _check_whole(report: Mapping[str, Any], path: Path) -> None:
    missing = sorted({*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])})
    if missing:
        raise ModelError(
            f"{path}: {len(missing)} weights are missing or of another shape, such as "
            f"{missing[0]}; they would be random. Is the download whole?"
        )


def _auto(path: Path) -> Any:
    """The class of transformers that opens the folder."""
    return getattr(transformers, auto_class(path))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' own progress bars off the terminal, which has ours."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_tokenizer(path: Path) -> Any:
    """The tokenizer in a folder.

    Raises:
        ModelError: If there is none, or it does not open.
    """
    try:
        return AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=trust.remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(_cannot_open("tokenizer", path, error)) from error


def load_empty(path: Path) -> Any:
    """The decoder without its weights, on the meta device: shapes and names only.

    Of an adapter's folder, the decoder below it.

    Raises:
        ModelError: If the configuration is not one that transformers knows.
    """
    from transformers import AutoConfig

    path = adapter_folder.base_folder(path) if adapter_folder.is_adapter(path) else path
    try:
        config = AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=trust.remote_code
        )
        with torch.device("meta"):
            model = _auto(path).from_config(config, trust_remote_code=trust.remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(_cannot_open("model", path, error)) from error
    model.tie_weights()
    for target, source in model.all_tied_weights_keys.items():
        if _stored_apart(path, target, source):  # mT0 has a head of its own, whatever is configured
            owner, _, name = target.rpartition(".")
            own = torch.nn.Parameter(torch.empty_like(model.get_parameter(source)))
            setattr(model.get_submodule(owner), name, own)
    return model


def _stored_apart(path: Path, one: str, other: str) -> bool:
    """Whether two weights that a configuration ties are both stored, with different values."""
    found: dict[str, Path] = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            found |= dict.fromkeys({one, other} & set(stored.keys()), file)
    if len(found) < 2:
        return False
    with safe_open(found[one], "pt") as first, safe_open(found[other], "pt") as second:
        return not torch.equal(first.get_tensor(one), second.get_tensor(other))


def _check_vocabulary(model: Any, tokenizer: Any, path: Path) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens and the model embeds {rows}; "
            "they do not belong together"
        )


def _cannot_open(what: str, path: Path, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    code = "" if trust.remote_code else ". Python code that comes with a model is never run"
    return f"the {what} in {path} does not open: {first}{code}"
