"""Whether a text says the same over and over."""

import math
from collections.abc import Hashable, Sequence

from retain.measure.words import words

LENGTHS = (4, 8, 12, 16, 20)
"""Lengths n of the n-grams that are counted."""
LONGEST_WORD = 40
"""Characters; anything longer ("hahaha…", a rule of dashes) is taken apart into characters."""


def repetition(pieces: Sequence[Hashable], length: int) -> float:
    """Part of the n-grams of a sequence that stood there before: ``1 - unique / all``.

    Args:
        pieces: Words or tokens, in order.
        length: n, at least 1.

    Returns:
        A fraction: 0 where every n-gram is new; near 1 in a loop. NaN where the sequence is shorter
        than n. Lower is better.

    Raises:
        ValueError: If n is under 1.

    Source: Li et al., "Examining Forgetting in Continual Pre-training of Aligned Large Language
    Models", 2024, https://arxiv.org/abs/2401.03129, which takes the mean over outputs for each of
    n = 4, 8, 12, 16 and 20. Departure: a text too short for n has no value, rather than 0.

    >>> repetition("the cat sat on the cat".split(), 2)
    0.19999999999999996
    """
    if length < 1:
        raise ValueError(f"n-grams have at least one piece, got {length}")
    num_all = len(pieces) - length + 1
    if num_all < 1:
        return math.nan
    return 1 - len({tuple(pieces[start : start + length]) for start in range(num_all)}) / num_all


def text_repetitions(text: str) -> dict[int, float]:
    """`repetition` of a text's words for each n of `LENGTHS`.

    Returns:
        n to a fraction, 0 to 1; NaN for each n that does not fit into the text. Words of over
        `LONGEST_WORD` characters are taken apart, so that "hahaha…" counts too.

    >>> {length: round(part, 2) for length, part in text_repetitions("na " * 10).items()}
    {4: 0.86, 8: 0.67, 12: nan, 16: nan, 20: nan}
    """
    pieces = [
        piece for word in words(text) for piece in (word if len(word) > LONGEST_WORD else (word,))
    ]
    return {length: repetition(pieces, length) for length in LENGTHS}


def text_repetition(text: str) -> float:
    """Mean of `repetition` over the words of a text, over those n of 4…20 that fit into it.

    A sentence frame that comes twice raises the short n-grams alone; a loop raises all of them. The
    mean therefore tells lists from loops better than any single n.

    Returns:
        A fraction, 0 to 1. NaN for a text of fewer than four words.

    >>> text_repetition("na " * 30).__round__(2)
    0.94
    >>> text_repetition("What we call the beginning is often the end.")
    0.0
    """
    known = [part for part in text_repetitions(text).values() if not math.isnan(part)]
    return math.fsum(known) / len(known) if known else math.nan
