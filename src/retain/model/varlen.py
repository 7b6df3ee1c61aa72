"""Attention over many documents in one kernel, where the device has one.

On CUDA, ``torch.nn.attention.varlen`` (flash attention) takes the bounds of the documents in a row;
elsewhere each document is a call of its own. The kernel is taken for a shape only after it gave, on
random documents, what calls of their own give, forward and backward.

Shapes: T tokens of a row, H query heads, G key heads, D head width, N documents.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

HALVES = (torch.bfloat16, torch.float16)  # what the kernel computes in
TRIAL_LENGTHS = (5, 23, 1, 40)
TOLERANCE = 0.03


class Shape(NamedTuple):
    """What decides whether the kernel fits: one trial for each."""

    device: torch.device
    dtype: torch.dtype
    num_heads: int
    num_groups: int
    width: int
    window: int | None


def takes(query: Tensor, key: Tensor, window: int | None) -> bool:
    """Whether a row's plain documents go through the kernel."""
    if query.device.type != "cuda" or query.dtype not in HALVES:
        return False
    if torch.are_deterministic_algorithms_enabled():  # its backward adds in any order
        return False
    device = torch.device("cuda", query.device.index or 0)
    return agrees(Shape(device, query.dtype, query.shape[1], key.shape[1], query.shape[3], window))


def bounds(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Where each document starts in the row, and where the last one ends: int32 N + 1.

    >>> bounds((3, 1, 2), torch.device("cpu")).tolist()
    [0, 3, 4, 6]
    """
    return torch.tensor([*accumulate(lengths, initial=0)], dtype=torch.int32, device=device)


def attend(
    states: tuple[Tensor, Tensor, Tensor],
    starts: Tensor,
    longest: int,
    scale: float,
    window: int | None,
) -> Tensor:
    """Causal attention [1, H, T, D] of documents that lie end to end in a row.

    Args:
        states: Queries [1, H, T, D], keys and values [1, G, T, D].
        starts: As ``bounds`` gives them.
        longest: Tokens of the longest document.
        scale: Of the products of queries and keys.
        window: How far a token looks back, itself included; None looks all the way.
    """
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (one[0].transpose(0, 1).contiguous() for one in states)
    output = varlen_attn(
        query,
        key,
        value,
        cu_seq_q=starts,
        cu_seq_k=starts,
        max_q=longest,
        max_k=longest,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(output, Tensor)  # a pair only where normalisers are asked for
    return output.transpose(0, 1)[None]


@lru_cache(maxsize=64)
def agrees(shape: Shape) -> bool:
    """Whether the kernel gives what one call a document gives, gradients too."""
    try:
        with torch.enable_grad(), torch.autocast(shape.device.type, enabled=False):
            return _worst(shape) <= TOLERANCE
    except (ImportError, RuntimeError, ValueError):  # no such kernel for this device or shape
        return False


def _worst(shape: Shape) -> float:
    """The largest distance of an output or a gradient from calls of their own in float32.

    As a part of the length of what is expected: 16 bits are off by 0.005, a token that one of the
    shortest documents should not see by 0.1.
    """
    draw = torch.Generator().manual_seed(0)
    num_tokens = sum(TRIAL_LENGTHS)

    def random(num_heads: int) -> Tensor:
        drawn = torch.randn((1, num_heads, num_tokens, shape.width), generator=draw)
        return drawn.to(shape.device, shape.dtype).requires_grad_()

    states = (random(shape.num_heads), random(shape.num_groups), random(shape.num_groups))
    scale = shape.width**-0.5
    starts = bounds(TRIAL_LENGTHS, shape.device)
    together = attend(states, starts, max(TRIAL_LENGTHS), scale, shape.window)
    query, key, value = (one.detach().float().requires_grad_() for one in states)
    exact = (query, key, value)
    apart = one_by_one(exact, TRIAL_LENGTHS, scale, shape.window)
    pull = torch.randn(apart.shape, generator=draw).to(shape.device, shape.dtype)
    found = [together, *torch.autograd.grad(together, states, pull)]
    expected = [apart, *torch.autograd.grad(apart, exact, pull.float())]
    errors = [(a.float() - b).norm() / b.norm() for a, b in zip(found, expected, strict=True)]
    return float(torch.stack(errors).detach().max())


def one_by_one(
    states: tuple[Tensor, Tensor, Tensor],
    lengths: Sequence[int],
    scale: float,
    window: int | None,
) -> Tensor:
    """The same as ``attend``, by one call a document."""
    outputs = []
    parts = (torch.split(one, list(lengths), 2) for one in states)
    for query, key, value in zip(*parts, strict=True):
        place = torch.arange(query.shape[2], device=query.device)
        distance = place[:, None] - place[None, :]
        seen = (distance >= 0) & (distance < (window or query.shape[2]))
        outputs.append(
            scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=seen,
                scale=scale,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(outputs, 2)
