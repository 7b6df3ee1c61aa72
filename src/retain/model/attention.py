"""Attention over packed trees of tokens, for any decoder that transformers runs.

Many documents lie end to end in one row of tokens. Each is a *tree* one level deep: a stem that
every later token of the document sees, and branches that see the stem and themselves but not each
other. A training document is a stem alone; a question with its choices is a stem with a branch per
choice. Nothing is padded, and no document sees another.

The attention function is registered with transformers under one name, so no model family is known
here: sliding windows, grouped queries, soft caps and scales come with the call.

Shapes: T tokens of the row, H query heads, K key heads, D head width.
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


@dataclass(frozen=True)
class Layout:
    """Where the documents of one row lie, and how each is divided.

    Attributes:
        stems: Tokens in each document's stem, in the order of the row.
        branches: For each document, the tokens of its branches, in order; () for a stem alone.
    """

    stems: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]

    @classmethod
    def of_documents(cls, lengths: Sequence[int]) -> "Layout":
        """The layout of plain documents, each seeing only itself."""
        return cls(tuple(lengths), ((),) * len(lengths))

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each document, stem and branches together."""
        return tuple(
            stem + sum(branches)
            for stem, branches in zip(self.stems, self.branches, strict=True)
        )

    def positions(self) -> list[int]:
        """Position of each token: every document starts at 0, every branch where its stem ends."""
        positions: list[int] = []
        for stem, branches in zip(self.stems, self.branches, strict=True):
            positions.extend(range(stem))
            for branch in branches:
                positions.extend(range(stem, stem + branch))
        return positions


_layout: Layout | None = None  # a plain global: recomputation in a backward pass runs on other threads
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


def _mask(
    stem: int, branches: tuple[int, ...], window: int | None, device: torch.device
) -> torch.Tensor | None:
    """Who sees whom in one document [length, length]; None where plain causal attention says it."""
    length = stem + sum(branches)
    if not branches and (window is None or length <= window):
        return None
    key = (stem, branches, window, device)
    if key not in _masks:
        sizes = torch.tensor([stem, *branches], device=device)
        branch_T = torch.repeat_interleave(torch.arange(len(sizes), device=device), sizes)
        layout = Layout((stem,), (branches,))
        position_T = torch.tensor(layout.positions(), device=device)
        order_T = torch.arange(length, device=device)
        seen_TT = (order_T[:, None] >= order_T[None, :]) & (
            (branch_T[None, :] == 0) | (branch_T[:, None] == branch_T[None, :])
        )
        if window is not None:
            seen_TT &= position_T[:, None] - position_T[None, :] < window
        _masks[key] = seen_TT
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


def _attend(
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
    for stem, branches, length in zip(
        _layout.stems, _layout.branches, _layout.lengths, strict=True
    ):
        part = slice(start, start + length)
        q, k, v = query[:, :, part], key[:, :, part], value[:, :, part]
        mask_TT = _mask(stem, branches, sliding_window, query.device)
        if softcap is not None:
            outputs.append(_capped_attention(q, k, v, mask_TT, scale, softcap))
        else:
            outputs.append(
                scaled_dot_product_attention(
                    q, k, v, attn_mask=mask_TT, dropout_p=dropout, is_causal=mask_TT is None,
                    scale=scale, enable_gqa=q.shape[1] != k.shape[1],
                )
            )  # fmt: skip
        start += length
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attend)
