"""What a first recipe takes from the user's data: how much is held out, how a test is scored."""

import unicodedata
from collections.abc import Sequence
from statistics import median

from retain.data.example import Example
from retain.data.split import HeldOut, split
from retain.errors import DataError
from retain.measure.words import words
from retain.recipe.init import LEAST_ITEMS

FRACTIONS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
SENTENCE_WORDS = 5
"""Answers with more words are hardly ever written to the letter."""


def held_out_of(examples: Sequence[Example]) -> tuple[float, int]:
    """The smallest fraction that leaves enough source items to report, and how many it leaves.

    With too little data for any, the fraction that leaves most.
    """
    found: list[tuple[float, int]] = []
    for fraction in FRACTIONS:
        try:
            parted = split(examples, HeldOut(fraction))
        except DataError:  # too few items to hold any out; the run will say so
            continue
        found.append((fraction, len({example.item for example in parted.role("report")})))
        if found[-1][1] >= LEAST_ITEMS:
            return found[-1]
    return max(found, key=lambda one: one[1], default=(FRACTIONS[0], 0))


def metric_of(examples: Sequence[Example]) -> str:
    """How a test of one's own is scored, by what its examples hold."""
    if all(one.choices for one in examples):
        return "choice"
    if all(one.text is not None for one in examples):
        return "bits_per_byte"
    answers = [one.reference for one in examples if one.reference]
    if not answers or median(len(words(answer)) for answer in answers) <= SENTENCE_WORDS:
        return "exact_match"
    return "rouge_l" if _is_latin("".join(answers)) else "chrf"


def _is_latin(text: str) -> bool:
    """Whether most letters are Latin."""
    letters = [one for one in text if one.isalpha()]
    latin = sum(unicodedata.name(one, "").startswith("LATIN") for one in letters)
    return 2 * latin >= len(letters)
