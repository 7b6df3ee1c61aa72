"""What it costs that a phase starts from weights rounded otherwise than the phase before left them.

A merge is made at full precision; where 4 bits are on either side of it, the model that is trained
on is not the one that was scored.

Shapes: T tokens of a row, D width.
"""

from dataclasses import dataclass

import torch

from retain.model.load import Loaded
from retain.model.precision import autocast
from retain.train.forward import make_forward
from retain.train.objective import part_losses, step_weight
from retain.train.settings import Settings
from retain.train.stream import Stream


@dataclass(frozen=True)
class Rounded:
    """Mean losses over the first optimizer step's trained tokens, in nats, before any training.

    Attributes:
        loss_left: Of the model as the phase before left it.
        loss_started: Of the model as this phase starts from it.
        trained_tokens: How many they are a mean of.
    """

    loss_left: float
    loss_started: float
    trained_tokens: int


def will_round(loaded: Loaded, settings: Settings, *, first: bool) -> bool:
    """Whether the weights below get or lose their 4 bits, or get them anew.

    Args:
        loaded: What the phase before left.
        settings: Of this phase.
        first: Whether there is no phase before; row 0 has its 4 bits then.
    """
    if first:
        return False
    had, gets = loaded.quantisation is not None, settings.tuning == "qlora"
    return had != gets or (had and settings.handover == "merge_then_new")


@torch.no_grad()
def first_loss(loaded: Loaded, stream: Stream, settings: Settings) -> float:
    """Mean loss of a model over the first optimizer step, in nats; the model stays as it is."""
    forward = make_forward(loaded.model, stream.longest_tokens)
    rows = stream.steps[0]
    total = 0.0
    loaded.model.eval()
    for row in rows:
        batch = forward.batch([row])
        with forward.around([row]), autocast(settings.precision, loaded.device):
            hidden_TD = forward.hidden(batch)
            total += sum(map(float, part_losses(forward, batch, hidden_TD)))
    return total / step_weight(rows)
