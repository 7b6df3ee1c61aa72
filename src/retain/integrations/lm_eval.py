"""The harness's own command with our engine in it, as the model ``retain``.

    python -m retain.integrations.lm_eval run --model retain --model_args pretrained=. --tasks piqa

lm-eval 0.4.13 has no plug-in mechanism for models (its registry knows only its own modules), so its
command is started from here, after the model is registered. From Python, give
``retain.evaluate.lm(model)`` to ``lm_eval.simple_evaluate``.
"""

from typing import Any

from lm_eval.api.registry import register_model

from retain.errors import ModelError, did_you_mean
from retain.evaluate.api import open_engine
from retain.evaluate.harness import RetainLM
from retain.model import precision as precisions
from retain.model.load import load

PRECISIONS = {"auto": "auto", "float32": "fp32", "bfloat16": "bf16", "fp32": "fp32", "bf16": "bf16"}
KNOWN = ("pretrained", "dtype", "max_length", "add_bos_token", "device")
PLANNED = ("batch_size", "max_batch_size")


@register_model("retain")
class RetainModel(RetainLM):
    """Our engine, made from ``--model_args``.

    Args:
        pretrained: A folder, a hub id or ``embedded:NAME``.
        dtype: ``auto``, ``float32`` or ``bfloat16``.
        max_length: What the model reads, in tokens.
        add_bos_token: Overrules whether the tokenizer adds BOS.
        device: Where to compute, if it is there; else as ``retain`` chooses.
        harness: ``batch_size`` and ``max_batch_size``, which the harness's command adds for its own
            models; the engine plans its batches itself.

    Raises:
        ValueError: If an argument or its value is not known here.
    """

    def __init__(
        self,
        pretrained: str,
        dtype: str = "float32",
        max_length: int | None = None,
        add_bos_token: bool | None = None,
        device: str | None = None,
        **harness: Any,
    ) -> None:
        for name in harness.keys() - {*PLANNED}:
            raise ValueError(did_you_mean("argument", name, [*KNOWN, *PLANNED]))
        precision = PRECISIONS.get(str(dtype))
        if precision is None:
            raise ValueError(f"dtype '{dtype}': allowed are {', '.join(PRECISIONS)}")
        loaded = load(str(pretrained), precision=precision, device=_there(device))
        engine = open_engine(
            loaded.model,
            loaded.tokenizer,
            precision=loaded.precision,
            max_length=max_length,
            add_bos_token=add_bos_token,
        )
        super().__init__(engine)


def _there(device: str | None) -> str:
    """The device, or ``auto``: where none is named, the harness says cuda:0 on any machine."""
    try:
        return str(precisions.device(device or "auto"))
    except ModelError:
        return "auto"


def main() -> None:
    """Run lm-eval's command."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
