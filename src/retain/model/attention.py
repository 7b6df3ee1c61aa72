"""Attention over packed trees of tokens and over live sequences, for any decoder of transformers.

Who sees whom in a row is a ``Layout``; nothing is padded, and no document sees another. Sequences
that are being written each have a slot of keys and values (``Slots``). The attention function is
registered with transformers under one name, so no model family is known here: sliding windows,
grouped queries, soft caps and scales come with the call.

Shapes: T tokens of a row, B live sequences, Q queries and K keys of a part, H query heads, G key
heads, D head width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from retain.model import varlen
from retain.model.attention_parts import Call, Sum, hide
from retain.model.layout import Block, Layout
from retain.model.states import Kept, Sink, Slots

NAME = "retain_tree"


@dataclass
class _Row:
    """What the attention function is told about the row that is computed.

    Attributes:
        layout: Its documents.
        kept: What documents go on from.
        into: Takes the row's keys and values.
    """

    layout: Layout
    kept: Kept | None = None
    into: Sink | None = None
    _blocks: dict[tuple[Any, ...], list[Block]] = field(default_factory=dict)
    _bounds: dict[torch.device, Tensor] = field(default_factory=dict)

    def blocks(self, window: int | None, device: torch.device) -> list[Block]:
        """The layout's blocks, made once for all layers."""
        key = (window, device)
        if key not in self._blocks:
            self._blocks[key] = self.layout.blocks(window, device)
        return self._blocks[key]

    def attend(
        self, call: Call, module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        """Attention [1, H, T, D] of one layer."""
        if query.shape[0] != 1 or query.shape[2] != sum(self.layout.lengths):
            raise RuntimeError(f"{NAME} attention called on another row than it was told")
        if self.layout.is_plain and call.is_plain and varlen.takes(query, key, call.window):
            output = self._by_bounds(call, (query, key, value))
        else:
            output = self._by_blocks(call, module, (query, key, value))
        if self.into is not None:
            self.into.put(module, key, value)
        return output

    def _by_blocks(
        self, call: Call, module: torch.nn.Module, states: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        blocks = self.blocks(call.window, states[0].device)
        if all(block.is_first for block in blocks):
            return torch.cat([*_apart(call, states, blocks)], 2)
        return _together(call, module, self.kept, states, blocks)

    def _by_bounds(self, call: Call, states: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """All documents in one kernel, which is told where each starts."""
        device = states[0].device
        if device not in self._bounds:
            self._bounds[device] = varlen.bounds(self.layout.lengths, device)
        longest = max(self.layout.lengths)
        return varlen.attend(states, self._bounds[device], longest, call.scale, call.window)


@dataclass
class _Live:
    """What the attention function is told about live sequences, of which each reads one token.

    Attributes:
        slots: Their keys and values; those of this step are added.
        lengths: Tokens [B] in each slot before this step; the first B slots are live.
        longest: The most tokens in a slot after it.
        kept: What all sequences go on from, before what is in their slots.
    """

    slots: Slots
    lengths: Tensor
    longest: int
    kept: Kept | None = None
    _biases: dict[tuple[Any, ...], Tensor | None] = field(default_factory=dict)

    def attend(
        self, call: Call, module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        """Attention [B, H, 1, D] of one layer; the heads of a group are queries of one key head."""
        num_live, num_heads, _, width = query.shape
        if num_live != len(self.lengths) or query.shape[2] != 1:
            raise RuntimeError(f"{NAME} attention called on other sequences than it was told")
        keys, values = self.slots.layer(module, key)
        live = torch.arange(num_live, device=query.device)
        keys[live, :, :, self.lengths] = key[:, :, 0]
        values[live, :, self.lengths] = value[:, :, 0]
        longest = self.longest
        num_groups = key.shape[1]
        grouped = query.view(num_live, num_groups, num_heads // num_groups, width)
        bias = self._bias("own", call.window, torch.float32)
        assert bias is not None
        scores = call.capped((grouped @ keys[:num_live, :, :, :longest]).float())
        scores += bias[:, None, None]
        output = scores.softmax(-1).to(value.dtype) @ values[:num_live, :, :longest]
        if self.kept is not None and self.kept.length:
            total = Sum.of(output, scores.logsumexp(-1))
            total.add((0, grouped.shape[2]), *self._on_kept(call, module, grouped))
            output = total.output.to(query.dtype)
        return output.reshape(query.shape)

    def _on_kept(
        self, call: Call, module: torch.nn.Module, grouped: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the sequences see of the kept tokens: one product for all of them."""
        assert self.kept is not None
        num_live, num_groups, size, width = grouped.shape
        together = grouped.transpose(0, 1).reshape(1, num_groups, num_live * size, width)
        bias = self._bias("kept", call.window, grouped.dtype)
        if bias is not None:
            bias = bias.repeat_interleave(size, 0)
        kept = self.kept.layer(module, self.kept.length)
        output, normaliser = call.part(together, *kept, bias)
        shape = (num_groups, num_live, size)
        return (
            output.reshape(*shape, width).transpose(0, 1),
            normaliser.reshape(shape).transpose(0, 1),
        )

    def _bias(self, which: str, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """What is added to scores [B, K], made once for all layers; None where all see all."""
        name = (which, window, dtype)
        if name not in self._biases:
            device = self.lengths.device
            if which == "own":
                distance_BK = self.lengths[:, None] - torch.arange(self.longest, device=device)
                hidden_BK = distance_BK < 0
            else:
                assert self.kept is not None
                num_kept = self.kept.length
                place_K = torch.arange(num_kept, device=device)
                distance_BK = self.lengths[:, None] + num_kept - place_K
                hidden_BK = torch.zeros_like(distance_BK, dtype=torch.bool)
            if window is not None:
                hidden_BK |= distance_BK >= window
            self._biases[name] = None
            if which == "own" or hidden_BK.any():
                self._biases[name] = hide(hidden_BK, dtype)
        return self._biases[name]


_now: _Row | _Live | None = None
"""A plain global, not a context variable: a backward pass may recompute on another thread."""


@contextmanager
def _attending(model: Any, what: _Row | _Live) -> Iterator[None]:
    global _now
    config = model.config.get_text_config()
    before, before_now = config._attn_implementation, _now
    config._attn_implementation, _now = NAME, what
    try:
        yield
    finally:
        config._attn_implementation, _now = before, before_now


@contextmanager
def tree_attention(
    model: Any, layout: Layout, kept: Kept | None = None, *, into: Sink | None = None
) -> Iterator[None]:
    """Inside, ``model`` attends as ``layout`` says; a backward pass belongs inside too.

    The model's input must be one row of ``sum(layout.lengths)`` tokens, with
    ``position_ids=[layout.positions()]``, no attention mask and no cache.

    Args:
        model: A decoder of transformers.
        layout: The documents of the row.
        kept: What they go on from, where ``layout.seen`` says so.
        into: Takes the row's keys and values. To add a row to what is kept, it must be one stretch
            of tokens that goes on from all that is kept.
    """
    with _attending(model, _Row(layout, kept, into)):
        yield
        if into is not None and into is kept:
            kept.length += sum(layout.lengths)


@contextmanager
def live_attention(
    model: Any, slots: Slots, lengths: Sequence[int], kept: Kept | None = None
) -> Iterator[None]:
    """Inside, ``model`` reads one token of each live sequence: input [B, 1], no mask, no cache.

    Args:
        model: A decoder of transformers.
        slots: Keys and values of the sequences so far; this step's are added.
        lengths: Tokens in the slot of each, before this one.
        kept: What all of them go on from.
    """
    lengths_B = torch.tensor(lengths, device=model.device)
    with _attending(model, _Live(slots, lengths_B, max(lengths) + 1, kept)):
        yield


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
    """The function transformers calls in every layer: [B, H, T, D] in, [B, T, H, D] out."""
    if _now is None:
        raise RuntimeError(f"{NAME} attention called outside tree_attention and live_attention")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.dtype != value.dtype:  # autocast: rotary positions made them wider again
        query, key = query.to(value.dtype), key.to(value.dtype)
    call = Call(scale, sliding_window, softcap, dropout)
    output = _now.attend(call, module, query, key, value)
    return output.transpose(1, 2).contiguous(), None


def _apart(
    call: Call, states: tuple[Tensor, Tensor, Tensor], blocks: Sequence[Block]
) -> Iterator[Tensor]:
    """The outputs of blocks that are all their queries see, in the order of the row."""
    query, key, value = states
    for block in blocks:
        part = slice(*block.queries)
        yield call.whole(query[:, :, part], key[:, :, part], value[:, :, part], block)


def _together(
    call: Call,
    module: torch.nn.Module,
    kept: Kept | None,
    states: tuple[Tensor, Tensor, Tensor],
    blocks: Sequence[Block],
) -> Tensor:
    """The attention of queries that see several blocks."""
    query, key, value = states
    total = Sum.empty(query)
    for block in blocks:
        queries, keys = slice(*block.queries), slice(*block.keys)
        if block.kept:
            assert kept is not None, "a document goes on from tokens that are not kept"
            all_keys, all_values = kept.layer(module, block.keys[1])
        else:
            all_keys, all_values = key, value
        k, v = all_keys[:, :, keys], all_values[:, :, keys]
        found = call.part(query[:, :, queries], k, v, block.bias(query.dtype), causal=block.causal)
        (total.set if block.is_first else total.add)(block.queries, *found)
    return total.output.to(query.dtype)


def longest_window(model: Any) -> int:
    """The longest span any layer looks back over, 0 if all look back all the way."""
    names = ("sliding_window", "attention_window", "attention_chunk_size", "window_size")
    found = [getattr(model.config.get_text_config(), name, None) for name in names]
    return max((value for value in found if isinstance(value, int)), default=0)


AttentionInterface.register(NAME, _attend)
