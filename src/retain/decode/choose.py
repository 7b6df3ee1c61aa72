"""The next token of each sequence: the most likely one, or drawn.

What a sequence draws depends on the seed, its key and its position alone: not on what else is in
the batch, nor on when it was started.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from retain.decode.live import Writing


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: What logits are divided by; 0 takes the most likely token.
        top_k: Draw from so many most likely tokens; None from all.
        top_p: Draw from the most likely tokens that together have this probability.
        seed: Where the noise comes from, with a sequence's key and position.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int = 0

    def __call__(self, logits_BV: Tensor, writings: Sequence[Writing]) -> list[int]:
        """The next token of each sequence."""
        if self.temperature == 0:
            greedy: list[int] = logits_BV.argmax(-1).tolist()
            return greedy
        size = min(self.top_k or logits_BV.shape[-1], logits_BV.shape[-1])
        scores_BK, tokens_BK = (logits_BV.double() / self.temperature).topk(size)  # in order
        probabilities_BK = scores_BK.softmax(-1)
        before_BK = probabilities_BK.cumsum(-1) - probabilities_BK
        probabilities_BK = probabilities_BK.masked_fill(before_BK >= self.top_p, 0.0)
        sums_BK = probabilities_BK.cumsum(-1)
        noise = [uniform(self.seed, one.key, len(one.written)) for one in writings]
        noise_B1 = torch.tensor(noise, dtype=torch.float64, device=logits_BV.device)[:, None]
        place_B1 = torch.searchsorted(sums_BK, noise_B1 * sums_BK[:, -1:], right=True)
        place_B1 = place_B1.clamp_max(size - 1)
        drawn: list[int] = tokens_BK.gather(-1, place_B1)[:, 0].tolist()
        return drawn


def uniform(seed: int, key: str, position: int) -> float:
    """A number in [0, 1) that belongs to one token of one sequence.

    >>> uniform(0, "item", 3) == uniform(0, "item", 3) != uniform(0, "item", 4)
    True
    """
    digest = sha256(f"{seed}:{position}:{key}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53
