"""Ranks that divide the weights of the blocks among themselves, with their gradients and moments.

Each projection of a block is a unit of FSDP2 (``fully_shard``), and so is what a block has besides:
its weights are gathered from all ranks when it computes and let go after, its gradients are summed
to the rank that keeps the part. Embeddings, head and norms outside the blocks are held whole by
every rank, since head and decoder are called apart. What is saved is gathered by rank 0, one tensor
after another, so that a snapshot or a model folder looks as one process writes it, and any number
of processes goes on from it.

Rank 0 decides when to save. So at the end of an optimizer step it leads: the others serve the
tensors it asks for, by number, until it says to go on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import Linear, Parameter
from torch.nn.utils import get_total_norm

from retain.model.layers import block_prefixes
from retain.model.precision import Precision
from retain.train.forward import Forward
from retain.train.snapshot import Snapshot
from retain.train.stream import Row
from retain.train.team import Ranks, shares

GO_ON = 0
Held = Callable[[], Mapping[str, Tensor]]


class Shards(Ranks):
    """Ranks that each keep a part of every block.

    Args:
        rank: Of this process.
        size: Processes in all.
        device: Where this one computes.
        lost: Raises what to say where another process can no longer be reached.
    """

    is_divided = True

    def __init__(
        self, rank: int, size: int, device: torch.device, lost: Callable[[Exception], NoReturn]
    ) -> None:
        super().__init__(rank, size, device, lost)
        self._divided: dict[str, DTensor] = {}
        self._served: Held = dict
        self._now: Mapping[str, Tensor] = {}
        self._micro_batch_tokens = 0

    def hold(
        self, forward: Forward, parameters: Mapping[str, Parameter], precision: Precision
    ) -> dict[str, Parameter]:
        """Divide the blocks; the parameters that move, each as the part that this rank keeps.

        In bf16 a projection is gathered as autocast would round it, so that its backward pass need
        not keep a rounded copy of it.
        """
        model, mesh = forward.model, DeviceMesh(self.device.type, list(range(self.size)))
        rounded = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if precision == "bf16" else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        for prefix in block_prefixes(model):
            for block in model.get_submodule(prefix):
                for module in block.modules():
                    if isinstance(module, Linear):
                        fully_shard(module, mesh=mesh, mp_policy=rounded)
                fully_shard(block, mesh=mesh)
        outside = {p for p in forward.decoder.parameters() if not isinstance(p, DTensor)}
        fully_shard(forward.decoder, mesh=mesh, ignored_params=outside)
        for module in forward.decoder.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)  # the loss is divided by all tokens already
                module.set_force_sum_reduction_for_comms(True)
        now: dict[str, Any] = dict(model.named_parameters())
        self._divided = {n: now[n] for n in parameters if isinstance(now[n], DTensor)}
        parts = {n: Parameter(p.to_local().detach()) for n, p in self._divided.items()}
        return {name: parts.get(name, now[name]) for name in parameters}

    def groups(
        self, forward: Forward, rows: Sequence[Row], micro_batch_tokens: int
    ) -> list[list[Row]]:
        """As many micro-batches as any rank has: blocks are gathered by all at once.

        A rank with fewer computes a sequence that weighs nothing.
        """
        if not self._micro_batch_tokens:
            self._micro_batch_tokens = self.of_first(micro_batch_tokens)
        of_ranks = [
            forward.groups(part, self._micro_batch_tokens) for part in shares(rows, self.size)
        ]
        mine = of_ranks[self.rank]
        counting = [row for row in rows if row.num_trained_tokens]
        shortest = min(counting, key=lambda row: row.num_tokens)
        missing = max(map(len, of_ranks)) - len(mine)
        return mine + missing * [[replace(shortest, weight=0.0)]]

    def sum(self, parameters: Mapping[str, Parameter], figures: Tensor) -> Tensor:
        """Take the parts of gradients that were summed in the backward pass; add up the others."""
        for name, p in self._divided.items():
            if isinstance(p.grad, DTensor):
                parameters[name].grad = p.grad.to_local()
                p.grad = None
        return super().sum(self._whole(parameters), figures)

    def norm(self, parameters: Mapping[str, Parameter]) -> Tensor:
        """Of the whole gradient: every rank's part of the divided tensors counts."""
        parts = [parameters[name].grad for name in self._divided]
        squared = get_total_norm([g for g in parts if g is not None]).square().to(self.device)
        self._add_up(squared)
        whole = [p.grad for p in self._whole(parameters).values()]
        others = get_total_norm([g for g in whole if g is not None]).to(self.device)
        return (squared + others.square()).sqrt()

    def check_same(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Compare what every rank holds whole."""
        if whole := {n: t for n, t in tensors.items() if n not in self._divided}:
            super().check_same(whole, step)

    def mine(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot of which this rank reads its parts."""
        weights, moments = snapshot.weights, snapshot.optimizer
        return replace(
            snapshot,
            weights=_Tensors(list(weights), lambda name: self._part(name, weights[name])),
            optimizer=_Tensors(list(moments), lambda name: self._part(name, moments[name])),
        )

    def gathered(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The same tensors whole, on the CPU of rank 0, each gathered when it is read."""
        num_bytes = sum(
            t.nbytes * (self.size if self._is_part(name, t) else 1) for name, t in tensors.items()
        )
        return _Tensors(list(tensors), lambda name: self._get(name, tensors[name]), num_bytes)

    def serve(self, held: Held) -> None:
        """Say what is served: weights and optimizer state, named alike on all ranks."""
        self._served = held

    def go_on(self) -> None:
        """Rank 0 says to go on; the others serve until it does."""
        if self.rank == 0:
            self.of_first(GO_ON)
        else:
            while (number := self.of_first(GO_ON)) != GO_ON:
                self._gather(*list(self._held().items())[number - 1])
        self._now = {}

    def weight(self, name: str) -> Tensor:
        """A weight that moves, whole, on rank 0."""
        return self._get(name, self._held()[name])

    def _held(self) -> Mapping[str, Tensor]:
        """What is served in this optimizer step."""
        self._now = self._now or self._served()
        return self._now

    def _whole(self, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        return {name: p for name, p in parameters.items() if name not in self._divided}

    def _is_part(self, name: str, tensor: Tensor) -> bool:
        """Whether it is a part of a divided weight, or of what AdamW keeps of one."""
        return name.rpartition("/")[2] in self._divided and tensor.dim() > 0

    def _part(self, name: str, whole: Tensor) -> Tensor:
        if not self._is_part(name, whole):
            return whole
        rows = -(-len(whole) // self.size)  # as FSDP2 divides: the last ranks may have fewer
        return whole[self.rank * rows : (self.rank + 1) * rows]

    def _get(self, name: str, tensor: Tensor) -> Tensor:
        """On rank 0: a tensor whole, with the others' help where they keep parts of it."""
        if not self._is_part(name, tensor):
            return tensor.detach().cpu()
        self.of_first(1 + list(self._held()).index(name))
        whole = self._gather(name, tensor)
        assert whole is not None
        return whole

    @torch.no_grad()
    def _gather(self, name: str, part: Tensor) -> Tensor | None:
        """The parts end to end on rank 0; None on the others."""
        length = self._divided[name.rpartition("/")[2]].shape[0]
        padded = part.new_zeros((-(-length // self.size), *part.shape[1:]))
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(self.size)] if self.rank == 0 else None
        try:
            dist.gather(padded, parts, dst=0)
        except RuntimeError as error:
            self._lost(error)
        return None if parts is None else torch.cat([p.cpu() for p in parts])[:length]


class _Tensors(Mapping[str, Tensor]):
    """Tensors by name, each made when it is read."""

    def __init__(
        self, names: Sequence[str], make: Callable[[str], Tensor], num_bytes: int = 0
    ) -> None:
        self._names, self._make, self.num_bytes = names, make, num_bytes

    def __getitem__(self, name: str) -> Tensor:
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@torch.no_grad()
def put_into(team: Shards, model: torch.nn.Module, names: Sequence[str]) -> None:
    """Copy the weights that moved from all ranks into a whole model; on rank 0."""
    parameters = dict(model.named_parameters())
    for name in names:
        parameters[name].copy_(team.weight(name))
