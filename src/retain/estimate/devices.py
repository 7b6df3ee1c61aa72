"""What a phase takes on devices that are not here: memory of each, and their hours.

Devices are named as ``8x80GB``. All weights that are trained are thought sharded over the devices
with their gradients and moments (FSDP2, ZeRO-3), and the two largest blocks gathered at a time;
an adapter's base is held whole by each. Rates are those of an A100: 312 TFLOP/s of bfloat16 and
2,039 GB/s, as NVIDIA's data sheet says, at the share of them that `retain.train.estimate` reckons
with. Eight devices are thought to do nine tenths of the work of eight times one.
"""

import re
from dataclasses import dataclass, replace

from retain.errors import RecipeError
from retain.model.facts import Facts
from retain.recipe.init import memory_bytes
from retain.train.estimate import Memory, Phase, Rates, step_memory, training_cost

A100 = Rates(gflops=312e3, bandwidth_gb_per_s=2039)
SCALING = 0.9  # of the work of one, each of several devices does
ACTIVATIONS = 0.2  # part of the memory that activations are given, as in train.plan
SMALLEST_TOKENS, LARGEST_TOKENS = 256, 16384  # computed at once, as in train.plan
GATHERED_BLOCKS = 2


@dataclass(frozen=True)
class Devices:
    """Some devices alike.

    Attributes:
        number: How many.
        memory_bytes: Of each.
    """

    number: int
    memory_bytes: float

    @classmethod
    def of(cls, text: str) -> "Devices":
        """From ``8x80GB``.

        >>> Devices.of("8x80GB").number
        8

        Raises:
            RecipeError: If it says no number, or no size.
        """
        match = re.fullmatch(r"(\d+)\s*x\s*(.+)", text.strip())
        if match is None or int(match[1]) == 0:
            raise RecipeError(f"devices: got '{text}'; give number and memory, such as 8x80GB")
        return cls(int(match[1]), memory_bytes(match[2]))

    @property
    def label(self) -> str:
        """As it is read."""
        return f"{self.number}x{self.memory_bytes / 1e9:g}GB"


def device_memory(facts: Facts, phase: Phase, devices: Devices) -> float:
    """Bytes that each device holds at most."""
    held = _sharded(facts, phase, step_memory(facts, phase), devices.number)
    room = ACTIVATIONS * devices.memory_bytes / held.a_token
    tokens = min(max(SMALLEST_TOKENS, room), LARGEST_TOKENS)
    tokens = min(tokens, phase.tokens / max(1, phase.num_steps) / devices.number)
    return held.bytes(tokens, tokens * phase.trained_tokens / max(1, phase.tokens))


def device_hours(facts: Facts, phase: Phase, devices: Devices) -> float:
    """Hours of all devices together, of computing."""
    rates = A100
    if devices.number > 1:
        rates = replace(A100, gflops=SCALING * A100.gflops)
    return training_cost(facts, phase, rates).seconds / 3600


def _sharded(facts: Facts, phase: Phase, whole: Memory, number: int) -> Memory:
    """What one of several devices holds of a step's memory."""
    if number == 1 or phase.adapter_parameters:
        return whole
    block = facts.block_parameters / facts.num_layers
    gathered = GATHERED_BLOCKS * 4 * block
    return whole._replace(
        weights=whole.weights / number + gathered, moving=whole.moving / number + 4 * block
    )
