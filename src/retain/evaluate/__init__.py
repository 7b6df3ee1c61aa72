"""Scoring models on tasks: the tasks of lm-evaluation-harness, phases, and tests of one's own.

``retain.evaluate(model, tasks)`` scores, so the package itself can be called. Nothing heavy is
imported before it is used.
"""

import sys
from types import ModuleType
from typing import Any


def lm(model: Any, tokenizer: Any = None, **options: Any) -> Any:
    """A model as an ``lm_eval.api.model.LM``, for ``lm_eval.simple_evaluate(model=…)``.

    Args:
        model: A reference (folder, hub id, ``embedded:NAME``), or a loaded model.
        tokenizer: The tokenizer of a loaded model.
        options: ``precision`` (``auto``, ``fp32``, ``bf16``; default ``fp32``), ``budget_tokens``,
            ``add_bos_token``, ``max_length``.

    Raises:
        ModelError: If the model is not found, or is given without its tokenizer.
    """
    from retain.evaluate.api import open_engine
    from retain.evaluate.harness import RetainLM

    return RetainLM(open_engine(model, tokenizer, **options))


class _Callable(ModuleType):
    """The package, which is also the function ``retain.evaluate``."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """See ``retain.evaluate.api.evaluate``."""
        from retain.evaluate.api import evaluate

        return evaluate(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
