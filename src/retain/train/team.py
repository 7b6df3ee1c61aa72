"""The processes that train one phase together, as each of them sees it.

Rank 0 is the process that carries out the step: it alone saves, reports and writes. Every rank
holds all weights, computes the gradients of its part of every optimizer step, and gets the sum over
all; so each applies the same change, and the loss is weighed by the trained tokens of all ranks.
What is sent goes through ``torch.distributed``: gloo between CPUs, NCCL between GPUs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import get_total_norm

from retain.errors import TrainingError
from retain.model.precision import Precision
from retain.train.forward import Forward
from retain.train.snapshot import Snapshot
from retain.train.stream import Row

BUCKET_BYTES = 2**25  # gradients that are sent at once, unless one alone is larger


class Team:
    """One process by itself: nothing is divided and nothing sent.

    Attributes:
        rank: Of this process; 0 saves, reports and writes.
        size: Processes in all.
        is_divided: Whether ranks keep parts of weights; then they compute in step.
    """

    rank = 0
    size = 1
    is_divided = False

    def hold(
        self, forward: Forward, parameters: Mapping[str, Parameter], precision: Precision
    ) -> dict[str, Parameter]:
        """The parameters that move, as this rank holds them."""
        return dict(parameters)

    def groups(
        self, forward: Forward, rows: Sequence[Row], micro_batch_tokens: int
    ) -> list[list[Row]]:
        """The micro-batches of an optimizer step that this rank computes."""
        return forward.groups(rows, micro_batch_tokens)

    def sum(self, parameters: Mapping[str, Parameter], figures: Tensor) -> Tensor:
        """Add up the gradients of all ranks, in place, and the figures, which are returned."""
        return figures

    def norm(self, parameters: Mapping[str, Parameter]) -> Tensor:
        """Length of the gradient."""
        return get_total_norm([p.grad for p in parameters.values() if p.grad is not None])

    def union(self, rows: Sequence[Row], mine: Sequence[Row]) -> Sequence[Row]:
        """The rows that any rank names, given all of a step and those that this one names."""
        return mine

    def of_first(self, number: int) -> int:
        """The number that rank 0 gives."""
        return number

    def check_same(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """See that every rank holds the same numbers after so many optimizer steps.

        Raises:
            TrainingError: If one does not, on every rank.
        """

    def mine(self, snapshot: Snapshot) -> Snapshot:
        """What this rank takes of a snapshot."""
        return snapshot

    def gathered(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors whole, of weights or optimizer state as this rank holds them."""
        return tensors

    def serve(self, held: Callable[[], Mapping[str, Tensor]]) -> None:
        """Say what this rank holds, for others to ask for."""

    def go_on(self) -> None:
        """At the end of an optimizer step, after rank 0 has saved what it wants."""

    def folder(self, partial: Path) -> Path:
        """Where in the step's partial folder this rank keeps its own plan."""
        return partial

    @property
    def names(self) -> tuple[int, ...]:
        """What this rank's draws are named after besides: masks of dropout differ by rank."""
        return ()


class Ranks(Team):
    """One of several processes; ``torch.distributed`` has been started.

    Args:
        rank: Of this process.
        size: Processes in all.
        device: Where this one computes.
        lost: Raises what to say where another process can no longer be reached.
    """

    def __init__(
        self, rank: int, size: int, device: torch.device, lost: Callable[[Exception], NoReturn]
    ) -> None:
        self.rank, self.size = rank, size
        self.device, self._lost = device, lost

    def groups(
        self, forward: Forward, rows: Sequence[Row], micro_batch_tokens: int
    ) -> list[list[Row]]:
        """Of this rank's of the ``shares``."""
        return forward.groups(shares(rows, self.size)[self.rank], micro_batch_tokens)

    @torch.no_grad()
    def sum(self, parameters: Mapping[str, Parameter], figures: Tensor) -> Tensor:
        """Add up in buckets; a rank without a gradient that another one has counts as zero."""
        has = torch.tensor([p.grad is not None for p in parameters.values()], device=self.device)
        both = torch.cat([figures, has.to(figures.dtype)])
        self._add_up(both)
        figures, anywhere = torch.split(both, [len(figures), len(parameters)])
        for p, number in zip(parameters.values(), anywhere.tolist(), strict=True):
            if number and p.grad is None:  # nothing of this rank's part came by
                p.grad = torch.zeros_like(p)
        for bucket in _buckets([p.grad for p in parameters.values() if p.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            self._add_up(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in bucket])
            for gradient, summed in zip(bucket, parts, strict=True):
                gradient.copy_(summed.view_as(gradient))
        return figures

    def union(self, rows: Sequence[Row], mine: Sequence[Row]) -> Sequence[Row]:
        """The rows that any rank names, in the order of the step."""
        named = {id(row) for row in mine}
        flags = torch.tensor([id(row) in named for row in rows], device=self.device).float()
        self._add_up(flags)
        return [row for row, flag in zip(rows, flags.tolist(), strict=True) if flag]

    def of_first(self, number: int) -> int:
        """Wait for it."""
        told = torch.tensor([number], device=self.device)
        self._tell(told)
        return int(told)

    @torch.no_grad()
    def check_same(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Compare the sum of each tensor with that of rank 0, to the last bit."""
        sums = torch.stack([t.detach().sum(dtype=torch.float64) for t in tensors.values()])
        first = sums.clone()
        self._tell(first)
        differs = (sums.view(torch.int64) != first.view(torch.int64)).any()
        unlike = torch.zeros(self.size, device=self.device)
        unlike[self.rank] = differs
        self._add_up(unlike)
        if found := [str(rank) for rank, flag in enumerate(unlike.tolist()) if flag]:
            raise TrainingError(
                f"after optimizer step {step} the weights of process {', '.join(found)} of "
                f"{self.size} are not those of process 0: the processes do not compute alike, or "
                "memory is damaged. Nothing was saved, the last snapshot is kept; train.processes: "
                "1 does without them"
            )

    def folder(self, partial: Path) -> Path:
        """One for each rank and number of processes."""
        return partial / f"rank-{self.rank}-of-{self.size}"

    @property
    def names(self) -> tuple[int, ...]:
        """Rank 0 draws as one process does."""
        return (self.rank,) if self.rank else ()

    def _add_up(self, tensor: Tensor) -> None:
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            self._lost(error)

    def _tell(self, tensor: Tensor) -> None:
        try:
            dist.broadcast(tensor, src=0)
        except RuntimeError as error:
            self._lost(error)


def shares(rows: Sequence[Row], size: int) -> list[list[Row]]:
    """An optimizer step divided among ranks: about equally many tokens each, the order kept.

    The longest sequence goes first, each to the rank with the fewest tokens so far; the same rows
    give the same parts. Sequences without a trained token go to nobody.
    """
    counting = [place for place, row in enumerate(rows) if row.num_trained_tokens]
    parts: list[list[int]] = [[] for _ in range(size)]
    tokens = [0] * size
    for place in sorted(counting, key=lambda place: -rows[place].num_tokens):
        rank = tokens.index(min(tokens))
        parts[rank].append(place)
        tokens[rank] += rows[place].num_tokens
    return [[rows[place] for place in sorted(part)] for part in parts]


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type, in their order, that are sent together."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size + tensor.nbytes > BUCKET_BYTES or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket
