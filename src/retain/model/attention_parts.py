"""The arithmetic of attention in parts: each over some of what its queries see, then put together.

Shapes: B sequences, Q queries and K keys of a part, H query heads, G key heads, D head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from retain.model.layout import NOTHING, Block

SCORES_BYTES = 64 * 2**20  # of one chunk of queries, where a kernel gives no normalisers


def hide(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: nothing, or so much less that nothing is seen."""
    bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    return bias.masked_fill_(hidden, max(NOTHING, torch.finfo(dtype).min / 2))


@dataclass(frozen=True)
class Call:
    """What one layer does to scores: the options of a call."""

    scale: float
    window: int | None
    softcap: float | None
    dropout: float

    @property
    def is_plain(self) -> bool:
        """Whether scores are only scaled: no cap, no dropout."""
        return self.softcap is None and not self.dropout

    def whole(self, query: Tensor, key: Tensor, value: Tensor, block: Block) -> Tensor:
        """Attention [1, H, Q, D] where one block is all that its queries see."""
        bias = block.bias(query.dtype)
        if self.softcap is not None:
            return self._by_hand(query, key, value, bias, causal=block.causal)[0]
        return scaled_dot_product_attention(
            *(query, key, value),
            attn_mask=bias,
            dropout_p=self.dropout,
            is_causal=block.causal,
            scale=self.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )

    def part(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        *,
        causal: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Attention [B, H, Q, D] over some of what its queries see, and normalisers [B, H, Q]."""
        if self.softcap is not None or query.device.type != "cpu":
            return self._by_hand(query, key, value, bias, causal=causal)
        groups = query.shape[1] // key.shape[1]
        shape = query.shape
        if bias is None and not causal:  # heads of a group are queries of one key head
            query = query.reshape(shape[0], key.shape[1], groups * shape[2], shape[3])
        elif groups > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        output, normaliser = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=bias, scale=self.scale
        )
        return output.reshape(shape), normaliser.reshape(shape[:3])

    def capped(self, products: Tensor) -> Tensor:
        """Scores of the products of queries and keys."""
        scores = products * self.scale
        if self.softcap is not None:  # Gemma 2
            scores = torch.tanh(scores / self.softcap) * self.softcap
        return scores

    def _by_hand(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """The same in plain operations, some queries at a time."""
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        if causal:
            shape = (query.shape[2], key.shape[2])
            above = torch.ones(shape, dtype=torch.bool, device=query.device).triu(1)
            bias = hide(above, torch.float32)
        size = max(1, SCORES_BYTES // (4 * query.shape[0] * query.shape[1] * key.shape[2]))
        outputs, normalisers = [], []
        for first in range(0, query.shape[2], size):
            products = query[:, :, first : first + size] @ key.transpose(-1, -2)
            scores = self.capped(products.float())
            if bias is not None:
                scores = scores + bias[..., first : first + size, :]
            normaliser = scores.logsumexp(-1)
            weights = (scores - normaliser[..., None]).exp().to(query.dtype)
            outputs.append(weights @ value)
            normalisers.append(normaliser)
        return torch.cat(outputs, 2), torch.cat(normalisers, 2)


@dataclass
class Sum:
    """Attention whose parts are added up, weighted by their normalisers."""

    output: Tensor
    normaliser: Tensor

    @classmethod
    def empty(cls, query: Tensor) -> "Sum":
        """To be set before it is added to."""
        return cls(
            torch.empty_like(query, dtype=torch.float32),
            query.new_empty(query.shape[:3], dtype=torch.float32),
        )

    @classmethod
    def of(cls, output: Tensor, normaliser: Tensor) -> "Sum":
        """A first part of all queries."""
        return cls(output.float(), normaliser.clone())

    def set(self, queries: tuple[int, int], output: Tensor, normaliser: Tensor) -> None:
        """The first part of some queries."""
        self.output[:, :, slice(*queries)] = output
        self.normaliser[:, :, slice(*queries)] = normaliser

    def add(self, queries: tuple[int, int], output: Tensor, normaliser: Tensor) -> None:
        """A further part of some queries."""
        place = slice(*queries)
        before = self.normaliser[:, :, place]
        total = torch.logaddexp(before, normaliser)
        self.output[:, :, place] *= (before - total).exp_()[..., None]
        self.output[:, :, place] += output * (normaliser - total).exp_()[..., None]
        self.normaliser[:, :, place] = total
