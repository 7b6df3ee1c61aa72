"""The loss of an optimizer step and its gradients.

The loss is ``sum(weight * nll) / sum(weight)`` over the trained tokens of the whole optimizer step,
however it is divided into micro-batches. The head and the cross-entropy (in float32) run in chunks,
each with its backward pass at once, so logits of a vocabulary of 262,144 never stand in memory
for all tokens. Chunked and whole give the same sums.

Shapes: T tokens of a row, R positions that predict a trained token, D width, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from retain.methods.given import Batch
from retain.model.precision import Precision, autocast
from retain.train.forward import Forward
from retain.train.hooks import Hooks
from retain.train.stream import Row

CHUNK_ELEMENTS = 8 * 2**20  # logits at once: 32 MB in float32, with their gradient 64 MB


@dataclass(frozen=True)
class Objective:
    """How the loss of this phase is computed.

    Attributes:
        forward: How the model is called.
        hooks: The methods, for their penalties.
        precision: What matrix products run in.
    """

    forward: Forward
    hooks: Hooks
    precision: Precision

    def backward(self, rows: Sequence[Row], step_weight: float) -> Tensor:
        """Add the micro-batch's gradients to the parameters.

        Args:
            rows: The micro-batch.
            step_weight: Sum of the weights of all trained tokens of the optimizer step.

        Returns:
            Its part of the step's loss and of the step's penalty: two float32 numbers, detached,
            still on the device.
        """
        batch = self.forward.batch(rows)
        device = batch.targets.device
        with self.forward.around(rows), autocast(self.precision, device):
            hidden_TD = self.forward.hidden(batch)
            leaf_TD = hidden_TD.detach().requires_grad_()
            loss = self._head_backward(batch, leaf_TD, step_weight)
            penalty = self._penalty_backward(batch, leaf_TD, step_weight)
            if hidden_TD.requires_grad:
                with autocast(self.precision, device, enabled=False):
                    torch.autograd.backward(hidden_TD, leaf_TD.grad)
        return torch.stack([loss, penalty])

    def _head_backward(self, batch: Batch, leaf_TD: Tensor, step_weight: float) -> Tensor:
        total = torch.zeros((), device=leaf_TD.device)
        for part in part_losses(self.forward, batch, leaf_TD):
            loss = part / step_weight
            total += loss.detach()
            self._backward(loss)
        return total

    def _penalty_backward(self, batch: Batch, leaf_TD: Tensor, step_weight: float) -> Tensor:
        """A penalty is scaled by the micro-batch's part of the step, as the loss is."""
        penalty = self.hooks.penalty(self.forward.model, batch, leaf_TD, self.forward.head)
        if penalty is None:
            return torch.zeros((), device=leaf_TD.device)
        scaled = penalty.float() * (batch.weights.sum() / step_weight)
        if scaled.requires_grad:
            self._backward(scaled)
        return scaled.detach()

    def _backward(self, value: Tensor) -> None:
        with autocast(self.precision, value.device, enabled=False):
            torch.autograd.backward(value)


def part_losses(forward: Forward, batch: Batch, hidden_TD: Tensor) -> Iterator[Tensor]:
    """Weighted sums of the loss in nats, one for each chunk of logits, computed when asked for."""
    size = max(1, CHUNK_ELEMENTS // forward.vocab_size)
    parts = zip(
        torch.split(batch.rows, size),
        torch.split(batch.targets, size),
        torch.split(batch.weights, size),
        strict=True,
    )
    for rows_R, targets_R, weights_R in parts:
        nll_R = cross_entropy(forward.head(hidden_TD[rows_R]).float(), targets_R, reduction="none")
        yield (nll_R * weights_R).sum()


def step_weight(rows: Sequence[Row]) -> float:
    """What all trained tokens of an optimizer step weigh together."""
    return sum(row.num_trained_tokens * row.weight for row in rows)
