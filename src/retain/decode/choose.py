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

FIRST = 1024  # likeliest tokens that are sorted first; they nearly always decide


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
        noise = [uniform(self.seed, one.key, len(one.written)) for one in writings]
        scores_BV = _wide(logits_BV) / self.temperature
        noise_B = torch.tensor(noise, dtype=torch.float64, device=scores_BV.device)
        if self.top_k is not None:
            scores_BK, tokens_BK = scores_BV.topk(min(self.top_k, scores_BV.shape[-1]))
            places_B = self._places(scores_BK.softmax(-1), noise_B)
            drawn_B = tokens_BK.gather(-1, places_B[:, None])[:, 0]
        else:
            drawn_B = self._from_all(scores_BV, noise_B)
        drawn: list[int] = drawn_B.tolist()
        return drawn

    def _from_all(self, scores_BV: Tensor, noise_B: Tensor) -> Tensor:
        """Tokens drawn where no ``top_k`` is set.

        Only the likeliest are sorted; all of them in those rows alone where that does not decide.
        """
        first = min(FIRST, scores_BV.shape[-1])
        scores_BK, tokens_BK = scores_BV.topk(first)
        probabilities_BK = (scores_BK - scores_BV.logsumexp(-1, keepdim=True)).exp()
        mass_B = probabilities_BK.sum(-1)
        if self.top_p < 1:
            is_sure_B = mass_B >= self.top_p
            places_B = self._places(probabilities_BK, noise_B)
        else:
            is_sure_B = noise_B < mass_B
            places_B = self._places(probabilities_BK, noise_B / mass_B)
        drawn_B = tokens_BK.gather(-1, places_B[:, None])[:, 0]
        if first < scores_BV.shape[-1] and not bool(is_sure_B.all()):
            rest_RV, tokens_RV = scores_BV[~is_sure_B].sort(-1, descending=True)
            places_R = self._places(rest_RV.softmax(-1), noise_B[~is_sure_B])
            drawn_B[~is_sure_B] = tokens_RV.gather(-1, places_R[:, None])[:, 0]
        return drawn_B

    def _places(self, probabilities_BK: Tensor, noise_B: Tensor) -> Tensor:
        """Where in each row, likeliest first, the noise falls; in the part that ``top_p`` keeps."""
        before_BK = probabilities_BK.cumsum(-1) - probabilities_BK
        sums_BK = probabilities_BK.masked_fill(before_BK >= self.top_p, 0.0).cumsum(-1)
        aim_B1 = noise_B.clamp_max(1.0)[:, None] * sums_BK[:, -1:]
        places_B1 = torch.searchsorted(sums_BK, aim_B1, right=True)
        return places_B1.clamp_max(probabilities_BK.shape[-1] - 1)[:, 0]


def _wide(logits_BV: Tensor) -> Tensor:
    """In float64, which Apple's devices do not have."""
    return (logits_BV.cpu() if logits_BV.device.type == "mps" else logits_BV).double()


def uniform(seed: int, key: str, position: int) -> float:
    """A number in [0, 1) that belongs to one token of one sequence.

    >>> uniform(0, "item", 3) == uniform(0, "item", 3) != uniform(0, "item", 4)
    True
    """
    digest = sha256(f"{seed}:{position}:{key}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53
