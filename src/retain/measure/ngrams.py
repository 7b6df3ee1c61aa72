"""Character n-grams as numbers: what needs no model to compare texts.

Shapes: C = characters of a text; N = texts; D = dimensions.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retain.data.leak import normalise

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

NUM_DIMENSIONS = 4096
"""Enough that the 3- and 4-grams of one language seldom fall together; 32 kB a text."""
EMBEDDED_LENGTHS = (3, 4)

_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def ngram_hashes(text: str, length: int) -> Hashes:
    """One 64-bit number for each character n-gram, in order, repetitions included.

    The text is normalised first (`retain.data.leak.normalise`). The numbers are the same in every
    process: a polynomial of the code points modulo 2^64, mixed so that all bits count.

    Args:
        text: Any text.
        length: n, at least 1.

    Returns:
        Shape (C - n + 1,); one number for a text shorter than n, none for one without characters.

    Source: the mixing is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable
    Pseudorandom Number Generators", 2014).

    >>> len(ngram_hashes("hello", 3)), len(ngram_hashes("hi", 3)), len(ngram_hashes("", 3))
    (3, 1, 0)
    """
    codes = np.frombuffer(
        normalise(text).encode("utf-32-le", errors="surrogatepass"), dtype="<u4"
    ).astype(np.uint64)
    length = min(length, len(codes))
    if length == 0:
        return np.empty(0, dtype=np.uint64)
    num = len(codes) - length + 1
    hashes: Hashes = np.full(num, length, dtype=np.uint64)
    for start in range(length):
        hashes = hashes * _BASE + codes[start : start + num] + np.uint64(1)
    return mixed(hashes)


def mixed(hashes: Hashes) -> Hashes:
    """The numbers with every bit depending on every bit; a bijection of 64-bit numbers."""
    for shift, factor in zip((30, 27), _MIX, strict=True):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * factor
    return hashes ^ (hashes >> np.uint64(31))


def embed_ngrams(texts: Sequence[str]) -> Floats:
    """Texts as hashed counts of character n-grams, of length 1: an embedder that needs no model.

    Texts of one language and one subject come out near each other; meaning is not seen, so that a
    text and its translation come out far apart.

    Args:
        texts: N texts.

    Returns:
        Shape (N, `NUM_DIMENSIONS`); a row of zeros for a text without characters.

    Source: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009,
    https://arxiv.org/abs/0902.2206 (with their signs, so that collisions cancel on average).
    Departure: counts enter by their square root, so that one frequent n-gram does not decide.

    >>> close, far = embed_ngrams(["a cat sat", "the cat sat", "दुई किताब"])[0] @ embed_ngrams(
    ...     ["the cat sat", "दुई किताब"]
    ... ).T
    >>> bool(close > 0.5 > 0.1 > abs(far))
    True
    """
    vectors = np.zeros((len(texts), NUM_DIMENSIONS))
    for vector, text in zip(vectors, texts, strict=True):
        hashes = np.concatenate([ngram_hashes(text, n) for n in EMBEDDED_LENGTHS])
        distinct, counts = np.unique(hashes, return_counts=True)
        signs = np.where(distinct >> np.uint64(63) == 1, 1.0, -1.0)
        places = (distinct % np.uint64(NUM_DIMENSIONS)).astype(np.int64)
        np.add.at(vector, places, signs * np.sqrt(counts))
    return unit(vectors)


def unit(vectors_ND: Floats) -> Floats:
    """Each row divided by its length; a row of zeros stays one.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    one: Floats = vectors_ND / np.where(lengths_N1 > 0, lengths_N1, 1.0)
    return one
