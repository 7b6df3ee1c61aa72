"""The harness's own command with our engine in it, as the model ``retain``.

    python -m retain.integrations.lm_eval run --model retain --model_args pretrained=. --tasks piqa

lm-eval 0.4.13 has no plug-in mechanism for models (its registry knows only its own modules), so its
command is started from here, after the model is registered. From Python, give
``retain.evaluate.lm(model)`` to ``lm_eval.simple_evaluate``.
"""

from typing import Any

from lm_eval.api.registry import register_model

from retain.evaluate.api import open_engine
from retain.evaluate.harness import RetainLM

PRECISIONS = {"auto": "auto", "float32": "fp32", "bfloat16": "bf16", "fp32": "fp32", "bf16": "bf16"}


@register_model("retain")
class RetainModel(RetainLM):
    """Our engine, made from ``--model_args``.

    Args:
        pretrained: A folder, a hub id or ``embedded:NAME``.
        dtype: ``auto``, ``float32`` or ``bfloat16``.
        max_length: What the model reads, in tokens.
        add_bos_token: Overrules whether the tokenizer adds BOS.
        ignored: What the harness's command adds for its own models (batch size, device); the
            engine plans its batches itself.
    """

    def __init__(
        self,
        pretrained: str,
        dtype: str = "float32",
        max_length: int | None = None,
        add_bos_token: bool | None = None,
        **ignored: Any,
    ) -> None:
        precision = PRECISIONS.get(str(dtype))
        if precision is None:
            raise ValueError(f"dtype '{dtype}': allowed are {', '.join(PRECISIONS)}")
        engine = open_engine(
            pretrained, precision=precision, max_length=max_length, add_bos_token=add_bos_token
        )
        super().__init__(engine)


def main() -> None:
    """Run lm-eval's command."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
