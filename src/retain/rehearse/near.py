"""Texts that were there before, exactly or nearly.

Source of MinHash: Broder, "On the resemblance and containment of documents", 1997; of the bands:
Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from retain.data.leak import key
from retain.measure.ngrams import Hashes, mixed, ngram_hashes

SHINGLE_CHARACTERS = 5
NUM_BANDS, BAND_ROWS = 32, 4
"""Two texts of similarity s are compared with probability ``1 - (1 - s^4)^32``: 0.9998 at 0.7,
0.988 at 0.6, 0.87 at 0.5, 0.0002 at 0.05, which is usual for two texts of one language."""
_CHUNK_SHINGLES = 16_384


class Seen:
    """The texts met so far, and whether a further one is among them.

    The same texts in the same order give the same answers in every process; nothing is drawn at
    random. Two texts are near when their sets of character 5-grams have a Jaccard similarity,
    ``|A and B| / |A or B|``, of at least a threshold. MinHash only finds who is worth comparing;
    the comparison itself is exact.

    >>> seen = Seen()
    >>> seen.add("Tell me about the rivers of Nepal.")
    >>> seen.has("tell me  about the rivers of Nepal."), seen.has("Tell me about rivers.")
    (True, False)
    >>> seen.nearest("Tell me about the rivers of Nepal!", at_least=0.8)
    'Tell me about the rivers of Nepal.'
    """

    def __init__(self) -> None:
        self._keys: set[bytes] = set()
        self._texts: list[str] = []
        self._buckets: dict[bytes, list[int]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        """Remember a text; one that is there already (see `has`) changes nothing."""
        digest = key(text)
        if digest in self._keys:
            return
        self._keys.add(digest)
        for bucket in _buckets(shingles(text)):
            self._buckets[bucket].append(len(self._texts))
        self._texts.append(text)

    def has(self, text: str) -> bool:
        """Whether the text is there, but for case, white space and compatible characters."""
        return key(text) in self._keys

    def nearest(self, text: str, *, at_least: float) -> str | None:
        """The most similar text met so far, the earliest of equals; None under the threshold.

        Args:
            text: The text to compare.
            at_least: Least Jaccard similarity of character 5-grams, 0.5 to 1; lower ones would be
                found too seldom.

        Raises:
            ValueError: If the threshold is out of range.
        """
        if not 0.5 <= at_least <= 1:
            raise ValueError(f"the least similarity must lie in 0.5..1, got {at_least}")
        ours = shingles(text)
        found = sorted(
            {place for bucket in _buckets(ours) for place in self._buckets.get(bucket, ())}
        )
        best, nearest = at_least, None
        for place in found:
            near = jaccard(ours, shingles(self._texts[place]))
            if near > best or (near == best and nearest is None):
                best, nearest = near, self._texts[place]
        return nearest


def shingles(text: str) -> Hashes:
    """The distinct character 5-grams of a text, as sorted numbers."""
    return np.unique(ngram_hashes(text, SHINGLE_CHARACTERS))


def jaccard(left: Hashes, right: Hashes) -> float:
    """Common elements over all elements of two sorted sets; 0 for two empty ones.

    >>> jaccard(np.array([1, 2, 3], np.uint64), np.array([2, 3, 4], np.uint64))
    0.5
    """
    num_common = np.intersect1d(left, right, assume_unique=True).size
    num_all = left.size + right.size - num_common
    return num_common / num_all if num_all else 0.0


def signature(distinct: Hashes) -> Hashes:
    """MinHash: for each of 128 fixed orders of all numbers, the first of the set's.

    The part of places in which two signatures agree estimates the Jaccard similarity of the sets.

    Args:
        distinct: The set, at least one number.

    Returns:
        Shape (128,).
    """
    orders = mixed(np.arange(1, NUM_BANDS * BAND_ROWS + 1, dtype=np.uint64))[:, None]
    least: Hashes = np.full(len(orders), np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(distinct), _CHUNK_SHINGLES):
        part = mixed(distinct[None, start : start + _CHUNK_SHINGLES] ^ orders)
        least = np.minimum(least, part.min(axis=1))
    return least


def _buckets(distinct: Hashes) -> list[bytes]:
    """One name for each band of the signature; none for a text without characters."""
    if distinct.size == 0:
        return []
    bands: NDArray[np.uint64] = signature(distinct).reshape(NUM_BANDS, BAND_ROWS)
    return [bytes([number]) + band.tobytes() for number, band in enumerate(bands)]
