"""Which auto class of transformers or PEFT opens a model folder; only JSON is read, no torch."""

import json
from pathlib import Path

CAUSAL, WITH_ENCODER = "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"


def has_encoder(folder: Path) -> bool:
    """Whether the model has an encoder beside its decoder (T5, mT0, BART).

    Args:
        folder: A whole model, or an adapter as PEFT writes it.
    """
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        return bool(json.loads(adapter.read_text("utf-8")).get("task_type") == "SEQ_2_SEQ_LM")
    config = folder / "config.json"
    if not config.is_file():
        return False
    return bool(json.loads(config.read_text("utf-8")).get("is_encoder_decoder", False))


def auto_class(folder: Path) -> str:
    """The name of the class that opens the folder: transformers', or PEFT's where that loads more.

    transformers 5 opens a DoRA adapter without its magnitudes, with no more than a printed table.
    """
    name = WITH_ENCODER if has_encoder(folder) else CAUSAL
    adapter = folder / "adapter_config.json"
    has_magnitudes = adapter.is_file() and json.loads(adapter.read_text("utf-8")).get("use_dora")
    return by_peft(name) if has_magnitudes else name


def by_peft(name: str) -> str:
    """The class of PEFT for the same models.

    >>> by_peft("AutoModelForCausalLM")
    'AutoPeftModelForCausalLM'
    """
    return name.replace("AutoModel", "AutoPeftModel")
