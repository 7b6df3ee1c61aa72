"""Keys and values that outlive the call that made them, layer by layer.

Shapes: T tokens of a row, G key heads, D head width.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad


class Sink(Protocol):
    """Takes the keys and values that a row's layers make."""

    def put(self, module: torch.nn.Module, key: Tensor, value: Tensor) -> None:
        """Take one layer's, both [1, G, T, D]."""
        ...


@dataclass
class Kept:
    """Keys and values of a stretch of tokens that later rows go on from, layer by layer.

    Attributes:
        capacity: The most tokens it will hold.
        length: Tokens it holds.
    """

    capacity: int
    length: int = 0
    _layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def layer(self, module: torch.nn.Module, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values [1, G, length, D] of one layer's first tokens."""
        key, value = self._layers[id(module)]
        return key[:, :, :length], value[:, :, :length]

    def put(self, module: torch.nn.Module, key: Tensor, value: Tensor) -> None:
        """Keep one layer's keys and values behind the ``length`` that are there."""
        if id(module) not in self._layers:
            self._layers[id(module)] = tuple(
                new.new_empty(1, new.shape[1], self.capacity, new.shape[3]) for new in (key, value)
            )  # type: ignore[assignment]
        end = self.length + key.shape[2]
        for all_of_it, new in zip(self._layers[id(module)], (key, value), strict=True):
            all_of_it[:, :, self.length : end] = new


@dataclass
class Slots:
    """Keys and values of sequences that are being written, a slot for each, layer by layer.

    Keys lie transposed: a product of few queries with many keys is up to twice as fast so.

    Attributes:
        num_slots: How many sequences.
        capacity: The most tokens of each.
    """

    num_slots: int
    capacity: int
    _layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def layer(self, module: torch.nn.Module, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys [num_slots, G, D, capacity] and values [num_slots, G, capacity, D] of one layer."""
        return self._of(id(module), like)

    def fill(self, slot: int, index: Tensor, row: "Captured") -> None:
        """Put the tokens of a row that one sequence reads into its slot, from its beginning."""
        for name, (new_key, new_value) in row.layers.items():
            keys, values = self._of(name, new_key)
            keys[slot, :, :, : len(index)] = new_key[0, :, index].transpose(-1, -2)
            values[slot, :, : len(index)] = new_value[0, :, index]

    @property
    def bytes_per_token(self) -> int:
        """What one token of one sequence takes, over all layers."""
        states = [one for layer in self._layers.values() for one in layer]
        return sum(one.nbytes for one in states) // (self.num_slots * self.capacity)

    def grow(self, capacity: int) -> None:
        """Make room for more tokens in every slot."""
        more = capacity - self.capacity
        for name, (keys, values) in self._layers.items():
            self._layers[name] = pad(keys, (0, more)), pad(values, (0, 0, 0, more))
        self.capacity = capacity

    def move(self, source: int, target: int, length: int) -> None:
        """Copy one sequence's tokens into another slot."""
        for keys, values in self._layers.values():
            keys[target, :, :, :length] = keys[source, :, :, :length]
            values[target, :, :length] = values[source, :, :length]

    def _of(self, name: int, like: Tensor) -> tuple[Tensor, Tensor]:
        if name not in self._layers:
            groups, width = like.shape[1], like.shape[3]
            self._layers[name] = (
                like.new_zeros(self.num_slots, groups, width, self.capacity),
                like.new_zeros(self.num_slots, groups, self.capacity, width),
            )
        return self._layers[name]


@dataclass
class Captured:
    """Keys and values of one row, by layer."""

    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def put(self, module: torch.nn.Module, key: Tensor, value: Tensor) -> None:
        """Take one layer's."""
        self.layers[id(module)] = key, value
