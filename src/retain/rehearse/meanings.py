"""Texts that say what an earlier one said, in other words, as far as a model's states tell.

Limits: the states of small models tell wording rather than meaning. Of 20 pairs of paraphrases
SmolLM2-135M puts 2 above a cosine of 0.9 and Gemma 3 270M none; of 12 pairs of different questions
in one frame ("rich in iron", "rich in calcium") 3 and 6; of unrelated ones none.

Shapes: N texts, D width.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], NDArray[np.float64]]
MIN_TEXTS = 16
"""Before there are so many, their mean says nothing, and every text counts as new."""


class Meanings:
    """The meanings met so far.

    Two texts mean the same when the cosine of their vectors exceeds a limit, once the mean of all
    vectors so far is taken from both: states of a language model share a few large directions.

    Args:
        embed: From texts to vectors.
        most: The largest cosine of two that differ, 0 to 1.
    """

    def __init__(self, embed: Embed, most: float) -> None:
        self._embed = embed
        self._most = most
        self._vectors: list[NDArray[np.float64]] = []

    def add(self, text: str) -> bool:
        """Whether the text says something new; it is remembered if it does."""
        vector_D = self._embed([text])[0]
        if len(self._vectors) >= MIN_TEXTS:
            known_ND = np.stack(self._vectors)
            mean_D = known_ND.mean(axis=0)
            centred_ND, centred_D = known_ND - mean_D, vector_D - mean_D
            norms_N = np.linalg.norm(centred_ND, axis=1) * np.linalg.norm(centred_D)
            if float((centred_ND @ centred_D / np.maximum(norms_N, 1e-12)).max()) > self._most:
                return False
        self._vectors.append(vector_D)
        return True
