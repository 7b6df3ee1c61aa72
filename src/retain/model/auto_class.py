"""Which of transformers' auto classes opens a model folder; only JSON is read here, no torch."""

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
    """The name of the class of transformers that opens the folder."""
    return WITH_ENCODER if has_encoder(folder) else CAUSAL
