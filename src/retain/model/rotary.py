"""Rotary positions that depend on the whole row: which rows may mix sequences of unequal length.

Source: transformers, ``modeling_rope_utils.dynamic_rope_update`` (Apache-2.0): two kinds of scaling
take their frequencies from the largest position of a call. ``longrope`` has two sets, one for rows
beyond the original context; ``dynamic`` has its own for every length beyond it, and keeps the last.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch

DYNAMIC = "dynamic"
ROWWISE = ("longrope", "su", DYNAMIC)  # "su" is what longrope was called at first


def rowwise_from(model: Any) -> int:
    """The length from which a sequence may change what others of its row get; else a huge number.

    Below it, positions alone decide, so sequences may share a row, a batch and a cache.

    >>> from types import SimpleNamespace
    >>> rope = {"rope_type": "longrope", "original_max_position_embeddings": 4096}
    >>> text = SimpleNamespace(rope_parameters=rope, max_position_embeddings=131072)
    >>> rowwise_from(SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text)))
    4096
    """
    config = model.config.get_text_config()
    found = [
        int(
            rope.get("original_max_position_embeddings")
            or getattr(config, "original_max_position_embeddings", None)
            or config.max_position_embeddings
        )
        for rope in _scalings(config)
        if any(kind in _kind(rope) for kind in ROWWISE)
    ]
    return min(found, default=sys.maxsize)


def forget_rows(model: Any) -> None:
    """Let go of the frequencies of former rows: ``dynamic`` scaling keeps them while rows are long.

    After it, a row gets the same frequencies whatever was computed before.
    """
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if isinstance(kinds, str) and DYNAMIC in kinds:
            _read_one_position(module, module.inv_freq)
        elif isinstance(kinds, Mapping):
            for layer, kind in kinds.items():
                if DYNAMIC in str(kind):
                    _read_one_position(module, getattr(module, f"{layer}_inv_freq"), layer)


def _read_one_position(module: Any, like: torch.Tensor, *layer: str) -> None:
    first = torch.zeros(1, 1, dtype=torch.long, device=like.device)
    with torch.no_grad():
        module(like, first, *layer)


def _scalings(config: Any) -> Iterator[Mapping[str, Any]]:
    """The scalings a configuration names: one for all layers, or one for each kind of them."""
    for name in ("rope_parameters", "rope_scaling"):
        rope = getattr(config, name, None)
        if isinstance(rope, Mapping):
            yield rope
            yield from (one for one in rope.values() if isinstance(one, Mapping))


def _kind(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type") or rope.get("type") or "")
