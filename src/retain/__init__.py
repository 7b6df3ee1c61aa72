"""Teach a language model phase after phase, measure what was forgotten, and prevent it.

>>> import retain
>>> sorted(retain.__all__)
['RetentionCallback', '__version__', 'evaluate', 'forgetting', 'plan', 'run']

Nothing heavy is imported before it is used.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["RetentionCallback", "__version__", "evaluate", "forgetting", "plan", "run"]

if TYPE_CHECKING:
    from retain import evaluate
    from retain.api import plan, run
    from retain.integrations.callback import RetentionCallback
    from retain.measure.forgetting import forgetting

_HOMES = {
    "RetentionCallback": "retain.integrations.callback",
    "plan": "retain.api",
    "run": "retain.api",
    "forgetting": "retain.measure.forgetting",
}


def __getattr__(name: str) -> Any:
    """Import a public function from its home when it is first asked for."""
    from importlib import import_module

    if name == "evaluate":  # a package that can be called
        return import_module("retain.evaluate")
    if name not in _HOMES:
        raise AttributeError(f"module 'retain' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
