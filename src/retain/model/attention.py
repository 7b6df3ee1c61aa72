"""Attention over packed trees of tokens, for any decoder that transformers runs.

Many documents lie end to end in one row of tokens. Each is a *tree*: nodes are stretches of tokens,
and a token sees its own node so far and the nodes above it, never a sibling. A training document
is one node; questions that begin alike, each with its choices, are a tree of three levels. Nothing
is padded, and no document sees another.

The attention function is registered with transformers under one name, so no model family is known
here: sliding windows, grouped queries, soft caps and scales come with the call.

Shapes: T tokens of the row or of a document, N nodes, H query heads, K key heads, D head width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "retain_tree"
ROOT = -1

Tree = tuple[tuple[int, int], ...]
"""Nodes of one document, parents first: index of the parent (``ROOT`` for none), tokens."""


@dataclass(frozen=True)
class Layout:
    """Where the documents of one row lie, and how each is divided.

    Attributes:
        documents: A tree for each document, in the order of the row; the tokens of a document lie
            node after node.
    """

    documents: tuple[Tree, ...]

    @classmethod
    def of_documents(cls, lengths: Sequence[int]) -> "Layout":
        """The layout of plain documents, each seeing only itself."""
        return cls(tuple(((ROOT, length),) for length in lengths))

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each document."""
        return tuple(sum(length for _, length in tree) for tree in self.documents)

    def positions(self) -> list[int]:
        """Position of each token: a document starts at 0, a node where its parent ends.

        >>> Layout((((-1, 3), (0, 2), (0, 1)),)).positions()
        [0, 1, 2, 3, 4, 3]
        """
        positions: list[int] = []
        for tree in self.documents:
            ends: list[int] = []
            for parent, length in tree:
                start = 0 if parent == ROOT else ends[parent]
                positions.extend(range(start, start + length))
                ends.append(start + length)
        return positions


_layout: Layout | None = None
"""A plain global, not a context variable: a backward pass may recompute on another thread."""
_masks: dict[tuple[Any, ...], torch.Tensor | None] = {}


@contextmanager
def tree_attention(model: Any, layout: Layout) -> Iterator[None]:
    """Inside, ``model`` attends as ``layout`` says; a backward pass belongs inside too.

    The model's input must be one row of ``sum(layout.lengths)`` tokens, with
    ``position_ids=[layout.positions()]``, no attention mask and no cache.
    """
    global _layout
    config = model.config.get_text_config()
    before, before_layout = config._attn_implementation, _layout
    config._attn_implementation, _layout = NAME, layout
    _masks.clear()
    try:
        yield
    finally:
        config._attn_implementation, _layout = before, before_layout
        _masks.clear()


def _mask(tree: Tree, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Who sees whom in one document [T, T]; None where plain causal attention says it."""
    length = sum(size for _, size in tree)
    if len(tree) == 1 and (window is None or length <= window):
        return None
    key = (tree, window, device)
    if key not in _masks:
        above_NN = torch.eye(len(tree), dtype=torch.bool)
        for node, (parent, _) in enumerate(tree):
            if parent != ROOT:
                above_NN[node] |= above_NN[parent]
        node_T = torch.repeat_interleave(
            torch.arange(len(tree)), torch.tensor([size for _, size in tree])
        )
        order_T = torch.arange(length)
        seen_TT = above_NN[node_T][:, node_T] & (order_T[:, None] >= order_T[None, :])
        if window is not None:
            position_T = torch.tensor(Layout((tree,)).positions())
            seen_TT &= position_T[:, None] - position_T[None, :] < window
        _masks[key] = seen_TT.to(device)
    return _masks[key]


def _capped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask_TT: torch.Tensor | None,
    scale: float,
    softcap: float,
) -> torch.Tensor:
    """Attention with the scores squashed by ``softcap * tanh(score / softcap)`` (Gemma 2)."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = torch.tanh(query @ key.transpose(-1, -2) * scale / softcap) * softcap
    length = query.shape[2]
    if mask_TT is None:
        mask_TT = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    scores = scores.masked_fill(~mask_TT, float("-inf"))
    return torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype) @ value


def _attend(  # noqa: PLR0913 - the signature that transformers calls
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The function transformers calls in every layer: [1, H, T, D] in, [1, T, H, D] out."""
    if _layout is None or query.shape[0] != 1 or query.shape[2] != sum(_layout.lengths):
        raise RuntimeError(f"{NAME} attention called outside tree_attention, or on another row")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    outputs = []
    start = 0
    for tree, length in zip(_layout.documents, _layout.lengths, strict=True):
        part = slice(start, start + length)
        q, k, v = query[:, :, part], key[:, :, part], value[:, :, part]
        mask_TT = _mask(tree, sliding_window, query.device)
        if softcap is not None:
            outputs.append(_capped_attention(q, k, v, mask_TT, scale, softcap))
        else:
            grouped = q.shape[1] != k.shape[1]
            outputs.append(
                scaled_dot_product_attention(
                    *(q, k, v),
                    attn_mask=mask_TT,
                    dropout_p=dropout,
                    is_causal=mask_TT is None,
                    scale=scale,
                    enable_gqa=grouped,
                )
            )
        start += length
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attend)
