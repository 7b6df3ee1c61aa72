"""Measurements inside a model, one step per checkpoint and probe; named without loading torch.

Each probe is a module here with a function ``measure(models, examples)`` that gives the JSON the
report reads.
"""

from dataclasses import dataclass
from typing import Literal

PROBE = "probe.json"
"""What a step of this kind leaves."""

ProbeName = Literal["attention", "drift"]


@dataclass(frozen=True)
class Probe:
    """One kind of probe.

    Attributes:
        version: Enters the settings of its steps; raised by hand when its results change.
        of_base: Whether row 0 has it too; else it compares a checkpoint with the base model.
        reads_data: Whether it reads what was held out of the phase.
    """

    version: int
    of_base: bool
    reads_data: bool


PROBES: dict[ProbeName, Probe] = {
    "attention": Probe(version=1, of_base=True, reads_data=False),
    "drift": Probe(version=2, of_base=False, reads_data=True),
}
