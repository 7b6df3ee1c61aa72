"""A model's parameters by place, as the hook ``trainable`` is given them."""

from typing import Any

from retain.methods.given import Block, Layers
from retain.model.layers import Kind, Part, Place, is_tied, places


def layers(model: Any) -> Layers:
    """The layers of a decoder of transformers; the meta device will do."""
    return arrange(places(model), tied=is_tied(model))


def arrange(found: dict[str, Place], *, tied: bool) -> Layers:
    """The layers from the place of each parameter."""
    num_blocks = 1 + max(place.block for place in found.values())
    return Layers(
        blocks=tuple(_block(found, index) for index in range(num_blocks)),
        embeddings=_outside(found, "embeddings"),
        final_norm=_outside(found, "final_norm"),
        head=_outside(found, "head"),
        other=_outside(found, "other"),
        tied=tied,
        sizes={name: place.size for name, place in found.items()},
    )


def _outside(found: dict[str, Place], part: Part) -> tuple[str, ...]:
    return tuple(name for name, place in found.items() if place.part == part)


def _block(found: dict[str, Place], index: int) -> Block:
    def named(kind: Kind) -> tuple[str, ...]:
        return tuple(n for n, place in found.items() if place.block == index and place.kind == kind)

    return Block(
        index=index,
        attention=named("attention"),
        mlp=named("mlp"),
        norm=named("norm"),
        other=named("other"),
    )
