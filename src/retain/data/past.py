"""Which old sequences are drawn first: kept by chance, or by how like the new data they are.

Likeness is that of hashed n-grams of tokens: no model, no library beside numpy, any language that
the tokenizer knows. It sees words in common, not meaning.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retain.data.draw import TokenSequence, generator

Counts = tuple[NDArray[np.uint64], NDArray[np.float64]]
MOST_TOKENS_OF_A_GRAM = 2
BITS = 18
"""Grams fall into 2**18 buckets: of 10,000 different ones, 4 % share theirs with another."""
MULTIPLIER = 0x9E3779B97F4A7C15  # Knuth's multiplicative hashing: 2**64 over the golden ratio


def reservoir(sequences: Sequence[TokenSequence], size: int, seed: int) -> list[TokenSequence]:
    """What a buffer of ``size`` holds after all sequences went by, oldest phase first.

    Every sequence is in it with the same probability. What a shorter stream leaves is what the
    buffer held when the longer one had come as far: phase by phase it is one buffer.

    Source: Vitter, "Random Sampling with a Reservoir", 1985, algorithm R.
    """
    rng = generator(seed, "reservoir")
    buffer: list[TokenSequence] = []
    for number, sequence in enumerate(sequences):
        if number < size:
            buffer.append(sequence)
        elif (place := rng.randrange(number + 1)) < size:
            buffer[place] = sequence
    return buffer


def by_likeness(
    sequences: Sequence[TokenSequence],
    new: Sequence[TokenSequence],
    first: Literal["nearest", "farthest"],
) -> list[TokenSequence]:
    """The sequences in order of their likeness to the new data; ties keep their order."""
    likeness = likeness_to(sequences, new)
    order = np.argsort(-likeness if first == "nearest" else likeness, kind="stable")
    return [sequences[index] for index in order]


def likeness_to(
    sequences: Sequence[TokenSequence], new: Sequence[TokenSequence]
) -> NDArray[np.float64]:
    """Cosine of each sequence with the mean of the new ones, 0..1.

    A sequence is the vector of its n-grams (one and two tokens), ``1 + log count`` each, times
    ``log((1 + N) / (1 + n))`` of the n among all N sequences that have it: what every sequence has,
    such as the marks of a chat template, counts nothing. Each is scaled to length 1 before the
    mean.
    """
    old_counts, new_counts = [_counts(one) for one in sequences], [_counts(one) for one in new]
    having = np.zeros(2**BITS)
    for buckets, _ in (*old_counts, *new_counts):
        having[buckets] += 1
    rarity = np.log((1 + len(old_counts) + len(new_counts)) / (1 + having))
    centre = np.zeros(2**BITS)
    for buckets, values in (_unit(one, rarity) for one in new_counts):
        centre[buckets] += values
    centre /= np.linalg.norm(centre) or 1.0
    found = (_unit(one, rarity) for one in old_counts)
    return np.array([float(values @ centre[buckets]) for buckets, values in found])


def _counts(sequence: TokenSequence) -> Counts:
    """The buckets of a sequence's n-grams, and ``1 + log`` of how many fall into each."""
    ids = np.asarray(sequence.input_ids, dtype=np.uint64) + np.uint64(1)
    grams, found = np.zeros_like(ids), []
    for length in range(1, MOST_TOKENS_OF_A_GRAM + 1):
        grams = grams[: len(ids) - length + 1] * np.uint64(MULTIPLIER) + ids[length - 1 :]
        found.append(grams * np.uint64(MULTIPLIER) >> np.uint64(64 - BITS))
    buckets, counts = np.unique(np.concatenate(found), return_counts=True)
    return buckets, 1 + np.log(counts)


def _unit(counts: Counts, rarity: NDArray[np.float64]) -> Counts:
    """A sequence's vector, scaled to length 1; zeros stay."""
    buckets, values = counts
    weighed = values * rarity[buckets]
    return buckets, weighed / (np.linalg.norm(weighed) or 1.0)
