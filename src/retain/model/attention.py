"""Attention over packed trees of tokens, for any decoder that transformers runs.

Who sees whom is a ``Layout``; nothing is padded, and no document sees another. The attention
function is registered with transformers under one name, so no model family is known here: sliding
windows, grouped queries, soft caps and scales come with the call.

Shapes: T tokens of the row, Q queries and K keys of a block, H query heads, G key heads, D head
width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from retain.model.layout import NOTHING, ROOT, Block, Layout, Tree

__all__ = ["NAME", "ROOT", "Kept", "Layout", "Tree", "tree_attention"]
NAME = "retain_tree"
SCORES_BYTES = 64 * 2**20  # of one chunk of queries, where a kernel gives no normalisers


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
class _Row:
    """What the attention function is told about the row that is computed.

    Attributes:
        layout: Its documents.
        kept: What documents go on from.
        keep: Whether the row's keys and values are added to what is kept.
    """

    layout: Layout
    kept: Kept | None = None
    keep: bool = False
    _blocks: dict[tuple[Any, ...], list[Block]] = field(default_factory=dict)

    def blocks(self, window: int | None, device: torch.device) -> list[Block]:
        """The layout's blocks, made once for all layers."""
        key = (window, device)
        if key not in self._blocks:
            self._blocks[key] = self.layout.blocks(window, device)
        return self._blocks[key]


_row: _Row | None = None
"""A plain global, not a context variable: a backward pass may recompute on another thread."""


@contextmanager
def tree_attention(
    model: Any, layout: Layout, kept: Kept | None = None, *, keep: bool = False
) -> Iterator[None]:
    """Inside, ``model`` attends as ``layout`` says; a backward pass belongs inside too.

    The model's input must be one row of ``sum(layout.lengths)`` tokens, with
    ``position_ids=[layout.positions()]``, no attention mask and no cache.

    Args:
        model: A decoder of transformers.
        layout: The documents of the row.
        kept: What they go on from, where ``layout.seen`` says so.
        keep: Add the row's keys and values to what is kept. The row must be one stretch of tokens
            that goes on from all that is kept.
    """
    global _row
    config = model.config.get_text_config()
    before, before_row = config._attn_implementation, _row
    config._attn_implementation, _row = NAME, _Row(layout, kept, keep)
    try:
        yield
        if keep and kept is not None:
            kept.length += sum(layout.lengths)
    finally:
        config._attn_implementation, _row = before, before_row


@dataclass(frozen=True)
class _Call:
    """What one layer does to scores: the options of a call."""

    scale: float
    softcap: float | None
    dropout: float

    def whole(self, query: Tensor, key: Tensor, value: Tensor, block: Block) -> Tensor:
        """Attention [1, H, Q, D] where one block is all that its queries see."""
        if self.softcap is not None:
            return self._by_hand(query, key, value, block)[0]
        return scaled_dot_product_attention(
            *(query, key, value),
            attn_mask=block.bias(query.dtype),
            dropout_p=self.dropout,
            is_causal=block.causal,
            scale=self.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )

    def part(
        self, query: Tensor, key: Tensor, value: Tensor, block: Block
    ) -> tuple[Tensor, Tensor]:
        """Attention [1, H, Q, D] over some of what its queries see, and normalisers [1, H, Q]."""
        if self.softcap is not None or query.device.type != "cpu":
            return self._by_hand(query, key, value, block)
        groups = query.shape[1] // key.shape[1]
        shape = query.shape
        if block.mask is None and not block.causal:  # heads of a group are queries of one head
            query = query.reshape(1, key.shape[1], groups * shape[2], shape[3])
        else:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        mask = block.bias(query.dtype)
        output, normaliser = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, block.causal, attn_mask=mask, scale=self.scale
        )
        return output.reshape(shape), normaliser.reshape(shape[:3])

    def _by_hand(
        self, query: Tensor, key: Tensor, value: Tensor, block: Block
    ) -> tuple[Tensor, Tensor]:
        """The same in plain operations, some queries at a time."""
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        seen_QK = block.mask
        if block.causal:
            seen_QK = torch.ones(
                query.shape[2], key.shape[2], dtype=torch.bool, device=query.device
            ).tril()
        size = max(1, SCORES_BYTES // (4 * query.shape[1] * key.shape[2]))
        outputs, normalisers = [], []
        for first in range(0, query.shape[2], size):
            scores = (query[:, :, first : first + size] @ key.transpose(-1, -2)).float()
            scores = scores * self.scale
            if self.softcap is not None:  # Gemma 2
                scores = torch.tanh(scores / self.softcap) * self.softcap
            if seen_QK is not None:
                scores = scores.masked_fill(~seen_QK[first : first + size], NOTHING)
            normaliser = scores.logsumexp(-1)
            weights = (scores - normaliser[..., None]).exp().to(query.dtype)
            outputs.append(weights @ value)
            normalisers.append(normaliser)
        return torch.cat(outputs, 2), torch.cat(normalisers, 2)


class _Sum:
    """Attention whose parts are added up, weighted by their normalisers."""

    def __init__(self, query: Tensor) -> None:
        self.output = torch.empty_like(query, dtype=torch.float32)
        self.normaliser = query.new_empty(query.shape[:3], dtype=torch.float32)

    def add(self, block: Block, output: Tensor, normaliser: Tensor) -> None:
        """Add what the queries of a block got of it."""
        queries = slice(*block.queries)
        if block.is_first:
            self.output[:, :, queries] = output
            self.normaliser[:, :, queries] = normaliser
            return
        before = self.normaliser[:, :, queries]
        total = torch.logaddexp(before, normaliser)
        self.output[:, :, queries] *= (before - total).exp_()[..., None]
        self.output[:, :, queries] += output * (normaliser - total).exp_()[..., None]
        self.normaliser[:, :, queries] = total


def _attend(  # noqa: PLR0913 - the signature that transformers calls
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls in every layer: [1, H, T, D] in, [1, T, H, D] out."""
    row = _row
    if row is None or query.shape[0] != 1 or query.shape[2] != sum(row.layout.lengths):
        raise RuntimeError(f"{NAME} attention called outside tree_attention, or on another row")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    call = _Call(scale, softcap, dropout)
    blocks = row.blocks(sliding_window, query.device)
    if all(block.is_first for block in blocks):
        output = torch.cat([*_apart(call, query, key, value, blocks)], 2)
    else:
        output = _together(call, module, row, (query, key, value), blocks)
    if row.keep and row.kept is not None:
        row.kept.put(module, key, value)
    return output.transpose(1, 2).contiguous(), None


def _apart(
    call: _Call, query: Tensor, key: Tensor, value: Tensor, blocks: Sequence[Block]
) -> Iterator[Tensor]:
    """The outputs of blocks that are all their queries see, in the order of the row."""
    for block in blocks:
        part = slice(*block.queries)
        yield call.whole(query[:, :, part], key[:, :, part], value[:, :, part], block)


def _together(
    call: _Call,
    module: torch.nn.Module,
    row: _Row,
    states: tuple[Tensor, Tensor, Tensor],
    blocks: Sequence[Block],
) -> Tensor:
    """The attention of queries that see several blocks."""
    query, key, value = states
    total = _Sum(query)
    for block in blocks:
        queries, keys = slice(*block.queries), slice(*block.keys)
        if block.kept:
            assert row.kept is not None, "a document goes on from tokens that are not kept"
            all_keys, all_values = row.kept.layer(module, block.keys[1])
        else:
            all_keys, all_values = key, value
        k, v = all_keys[:, :, keys], all_values[:, :, keys]
        total.add(block, *call.part(query[:, :, queries], k, v, block))
    return total.output.to(query.dtype)


AttentionInterface.register(NAME, _attend)
