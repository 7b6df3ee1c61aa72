"""Freeze: let only a part of the model move.

Source: the layer-freezing study of "two-phase fine-tuning" (arXiv 2410.16006), where the first
layers are kept. Departures: embeddings are frozen with the first layers unless asked otherwise,
and a tied head with them, since it is the same tensor.

Limits: what does not move is not forgotten, but what depends on moving layers still can be.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from retain.errors import RecipeError
from retain.methods.base import History, Layers, Method, Trainable


@dataclass(frozen=True, kw_only=True)
class Freeze(Method):
    """Keep the first or last layers, or parameters by name, as they are.

    Attributes:
        select: Which end the frozen layers are counted from: ``first`` is the input's.
        num_layers: How many layers are frozen.
        fraction: The same as a fraction of all layers, rounded to a whole layer.
        embeddings: Whether embeddings are frozen too; None: yes with the first layers, else no.
            A tied head is frozen with them.
        head: Whether the output head is frozen too.
        names: Further parameters to freeze: each a name, or a regular expression that a whole
            name must match.
    """

    name = "freeze"
    chooses_trainable = True

    select: Literal["first", "last"] = "first"
    num_layers: int | None = None
    fraction: float | None = None
    embeddings: bool | None = None
    head: bool = False
    names: tuple[str, ...] = ()

    def faults(self) -> list[tuple[str, str]]:
        """Something is to be frozen, once, and patterns are patterns."""
        faults = []
        if self.num_layers is not None and self.fraction is not None:
            faults.append(("fraction", "num_layers is given too; give one of them"))
        if self.num_layers is not None and self.num_layers < 1:
            faults.append(("num_layers", f"must be at least 1; got {self.num_layers}"))
        if self.fraction is not None and not 0 < self.fraction <= 1:
            faults.append(("fraction", f"must be above 0 and at most 1; got {self.fraction:g}"))
        if not (self._counts_layers or self.embeddings or self.head or self.names):
            faults.append(("num_layers", "nothing to freeze; give num_layers, fraction or names"))
        for pattern in self.names:
            try:
                re.compile(pattern)
            except re.error as error:
                faults.append(("names", f"'{pattern}' is not a regular expression: {error}"))
        return faults

    def trainable(
        self, layers: Layers, history: History, probes: Mapping[str, Any], rng: Random
    ) -> Trainable:
        """All parameters but the frozen ones; the numbers say how many move, and where.

        Raises:
            RecipeError: If there are fewer layers than asked, a pattern matches nothing, nothing
                is left to train, or a tied head is to be frozen without its embeddings.
        """
        blocks = self._blocks(layers)
        frozen = {name for index in blocks for name in layers.blocks[index].names}
        if self._freezes_embeddings or (self.head and layers.tied):
            frozen.update(layers.embeddings)
        if self.head:
            self._check_head(layers)
            frozen.update(layers.head)
        for pattern in self.names:
            frozen.update(_matching(pattern, layers.names))
        moving = tuple(name for name in layers.names if name not in frozen)
        if not moving:
            raise RecipeError(
                f"freeze: all {len(layers.names)} parameters would be frozen, nothing is left to "
                "train; freeze fewer layers, or set embeddings or head to false"
            )
        return Trainable(names=moving, numbers=_numbers(layers, moving, blocks))

    @property
    def _counts_layers(self) -> bool:
        return self.num_layers is not None or self.fraction is not None

    @property
    def _freezes_embeddings(self) -> bool:
        if self.embeddings is not None:
            return self.embeddings
        return self._counts_layers and self.select == "first"

    def _blocks(self, layers: Layers) -> range:
        """The indices of the frozen blocks."""
        total = len(layers.blocks)
        count = self.num_layers or 0
        if self.fraction is not None:
            count = round(self.fraction * total)
            if count == 0:
                raise RecipeError(
                    f"freeze: fraction {self.fraction:g} of {total} layers is no whole layer; "
                    f"give at least {1 / total:.3f}, or num_layers"
                )
        if count > total:
            raise RecipeError(f"freeze: num_layers is {count}, but the model has {total} layers")
        return range(count) if self.select == "first" else range(total - count, total)

    def _check_head(self, layers: Layers) -> None:
        if layers.tied and self.embeddings is False:
            raise RecipeError(
                "freeze: head is true and embeddings is false, but this model ties them (one "
                "tensor); set both alike"
            )
        if not layers.tied and not layers.head:
            raise RecipeError("freeze: head is true, but the model has no output head by name")


def _matching(pattern: str, names: tuple[str, ...]) -> set[str]:
    """The parameters that a name or pattern means; at least one."""
    found = {name for name in names if name == pattern or re.fullmatch(pattern, name)}
    if not found:
        shown = ", ".join(names[:3])
        raise RecipeError(
            f"freeze: names: '{pattern}' matches none of the {len(names)} parameters; a pattern "
            f"must match a whole name, such as {shown} (a leading or trailing .* helps)"
        )
    return found


def _numbers(layers: Layers, moving: tuple[str, ...], blocks: range) -> dict[str, Any]:
    """What moves and what does not, for the plan and the report."""
    kept = set(moving)
    total = sum(layers.sizes[name] for name in layers.names)
    moved = sum(layers.sizes[name] for name in moving)
    embeddings_frozen = bool(layers.embeddings) and not kept & set(layers.embeddings)
    return {
        "num_parameters": total,
        "num_trainable": moved,
        "trainable_fraction": moved / total,
        "frozen_layers": list(blocks),
        "num_layers": len(layers.blocks),
        "embeddings_frozen": embeddings_frozen,
        "head_frozen": embeddings_frozen if layers.tied else not kept & set(layers.head),
        "tied_head_frozen_with_embeddings": layers.tied and embeddings_frozen,
    }
