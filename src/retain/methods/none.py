"""None: plain sequential fine-tuning, the control that every other arm is compared with."""

from dataclasses import dataclass

from retain.methods.base import Method


@dataclass(frozen=True, kw_only=True)
class Plain(Method):
    """Do nothing against forgetting. ``[]`` and ``[{method: none}]`` are the same arm."""

    name = "none"
