"""The states that enter the first block that moves, read for the rows of a phase.

They come from a step of kind ``boundary`` (see ``train.boundary_step``).
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retain.errors import TrainingError
from retain.model.boundary import Boundary
from retain.model.precision import Precision, autocast
from retain.model.states_file import KeptStates, token_key
from retain.steps.work import Work
from retain.train.forward import Forward
from retain.train.stream import Row

FACTS = "boundary.json"
TOLERANCE = {"fp32": 1e-3, "bf16": 3e-2}  # of the largest state; other weights are far off


@dataclass(frozen=True)
class Below:
    """What the lowest blocks of a phase's model make of its sequences.

    Attributes:
        kept: The states by sequence.
        depth: How many blocks they stand for.
        device: Where the model computes.
    """

    kept: KeptStates
    depth: int
    device: torch.device

    def states(self, rows: Sequence[Row]) -> Tensor:
        """States [T, D] of sequences end to end, on the device."""
        parts = [self.kept.get(token_key(row.input_ids)) for row in rows]
        return torch.cat(parts).to(self.device, non_blocking=True)

    @contextmanager
    def given(self, model: Any, rows: Sequence[Row]) -> Iterator[None]:
        """Inside, the model computes these rows from the kept states on."""
        with Boundary(model, self.depth).given(self.states(rows)):
            yield


def check(forward: Forward, below: Below, rows: Sequence[Row], precision: Precision) -> None:
    """Make sure that kept states are what this model makes of these rows.

    Raises:
        TrainingError: If they are not.
    """
    with torch.no_grad(), autocast(precision, below.device):
        expected = forward.states_below(Boundary(forward.model, below.depth), rows)
    kept = below.states(rows).to(expected.dtype)
    off = float((kept - expected).abs().max() / expected.abs().max())
    if not off <= TOLERANCE[below.kept.stored]:
        raise TrainingError(
            f"the kept states of the {below.depth} lowest blocks are not this model's (off by "
            f"{off:.1e} of the largest); set boundary_cache: false for this phase and report it"
        )


def read_below(work: Work, device: torch.device) -> Below | None:
    """What the step's input ``boundary`` kept; None where there is none, or nothing in it."""
    if "boundary" not in work.step.inputs:
        return None
    facts = json.loads(work.input("boundary", FACTS).read_text("utf-8"))
    if not facts["depth"]:
        return None
    return Below(KeptStates(work.input("boundary")), facts["depth"], device)
