"""What two data sets share: their meaning, words, languages, and the shape of their answers.

Shapes: N texts; D dimensions. A *make-up* is what a set is made of: its languages, its words, the
forms of its answers; a mapping from each to its part of the set, adding up to 1.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from statistics import median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from retain.measure.language import language_of
from retain.measure.ngrams import embed_ngrams
from retain.measure.words import words

Floats = NDArray[np.float64]
Embedder = Callable[[Sequence[str]], Floats]
"""From N texts to an array of shape (N, D)."""

LIST_LINE = re.compile(r"\s*([-*•]|\d+[.)])\s")
NUMBER = re.compile(r"[-+\d\s.,/:%$€£]+")
FEW_WORDS = 3

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Sides:
    """One example as two texts.

    Attributes:
        asked: What the user says last; "" for running text.
        answered: What is learnt: the last answer, or the running text.
        choices: Whether the answer is one of given ones.
    """

    asked: str
    answered: str
    choices: bool = False

    @property
    def shown(self) -> str:
        """What stands for the example where its meaning is compared: the prompt, or the text."""
        return self.asked or self.answered


@dataclass(frozen=True)
class Portrait:
    """What a data set is like.

    Attributes:
        num_examples: Examples that were looked at.
        words: Make-up of its words, prompts and answers together.
        languages: Make-up of its languages, ISO 639-1; ``?`` where a text is too short to tell.
        forms: Make-up of the forms of its answers; see `answer_form`.
        lengths: Make-up of the lengths of its answers: characters, by powers of two.
        asked_characters: Median length of its prompts; 0 for running text.
        answer_characters: Median length of its answers.
        embedding: Mean embedding of what its examples show.
        halves: DES of one half of its examples with the other: what to expect of two sets that
            are alike; NaN for fewer than two.
    """

    num_examples: int
    words: Mapping[str, float]
    languages: Mapping[str, float]
    forms: Mapping[str, float]
    lengths: Mapping[int, float]
    asked_characters: int
    answer_characters: int
    embedding: Floats
    halves: float


@dataclass(frozen=True)
class Similarity:
    """What two data sets share, each 0 to 1 (DES: -1 to 1), 1 for a set with itself.

    Attributes:
        des: Dataset embedding similarity; see `des`.
        vocabulary: Overlap of their words.
        languages: Overlap of their languages.
        forms: Overlap of the forms of their answers.
        lengths: Overlap of the lengths of their answers.
    """

    des: float
    vocabulary: float
    languages: float
    forms: float
    lengths: float


def portrait(examples: Sequence[Sides], embedder: Embedder = embed_ngrams) -> Portrait:
    """What a data set is like.

    Args:
        examples: The set, at least one.
        embedder: What its meaning is taken by; hashed character n-grams when nothing is given.

    Raises:
        ValueError: If there is no example.
    """
    if not examples:
        raise ValueError("a data set needs at least one example, got none")
    vectors_ND = np.asarray(embedder([one.shown for one in examples]), dtype=np.float64)
    whole = [f"{one.asked}\n{one.answered}" for one in examples]
    answers = [one.answered for one in examples]
    return Portrait(
        num_examples=len(examples),
        words=make_up(word for text in whole for word in words(text)),
        languages=make_up(language_of(text) or "?" for text in whole),
        forms=make_up(answer_form(one) for one in examples),
        lengths=make_up(round(log2(1 + len(answer))) for answer in answers),
        asked_characters=int(median(len(one.asked) for one in examples)),
        answer_characters=int(median(map(len, answers))),
        embedding=vectors_ND.mean(axis=0),
        halves=cosine(vectors_ND[::2].mean(axis=0), vectors_ND[1::2].mean(axis=0))
        if len(examples) > 1
        else float("nan"),
    )


def compare(left: Portrait, right: Portrait) -> Similarity:
    """What two data sets share.

    >>> one = portrait([Sides("What is the capital of Nepal?", "Kathmandu")])
    >>> round(compare(one, one).des, 6), round(compare(one, one).vocabulary, 6)
    (1.0, 1.0)
    """
    return Similarity(
        des=cosine(left.embedding, right.embedding),
        vocabulary=overlap(left.words, right.words),
        languages=overlap(left.languages, right.languages),
        forms=overlap(left.forms, right.forms),
        lengths=overlap(left.lengths, right.lengths),
    )


def des(left: Sequence[str], right: Sequence[str], embedder: Embedder = embed_ngrams) -> float:
    """DES: the cosine between the mean embeddings of two sets of texts.

    ``<a, b> / (|a| |b|)`` with a and b the mean vectors of the two sets.

    Args:
        left: Instructions (or texts) of one set, at least one.
        right: Those of the other.
        embedder: From texts to vectors. Figures of unlike embedders cannot be compared.

    Returns:
        -1 to 1; 1 for equal means. NaN where a mean is zero. Symmetric; unchanged by repeating
        either set and by the order of its texts.

    Raises:
        ValueError: If a set is empty.

    Source: Aggarwal et al., "Exploring Continual Fine-Tuning for Enhancing Language Ability in
    Large Language Model", 2024, https://arxiv.org/abs/2410.16006 (there: LaBSE over
    instructions). Departure: any embedder.

    >>> round(des(["Name a river."], ["Name a river.", "Name a river."]), 6)
    1.0
    """
    if not left or not right:
        raise ValueError(f"need texts on both sides, got {len(left)} and {len(right)}")
    return cosine(
        np.asarray(embedder(left), dtype=np.float64).mean(axis=0),
        np.asarray(embedder(right), dtype=np.float64).mean(axis=0),
    )


def cosine(left_D: Floats, right_D: Floats) -> float:
    """The cosine between two vectors, ``<a, b> / (|a| |b|)``, -1 to 1; NaN if one of them is zero.

    >>> cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])).__round__(4)
    0.7071
    """
    lengths = float(np.linalg.norm(left_D) * np.linalg.norm(right_D))
    return float(np.clip(left_D @ right_D / lengths, -1, 1)) if lengths > 0 else float("nan")


def make_up(things: Iterable[T]) -> dict[T, float]:
    """Each thing's part of all, most frequent first; {} for none.

    >>> make_up("aab")
    {'a': 0.6666666666666666, 'b': 0.3333333333333333}
    """
    counts = Counter(things)
    return {thing: num / counts.total() for thing, num in counts.most_common()}


def overlap(left: Mapping[T, float], right: Mapping[T, float]) -> float:
    """What two make-ups have in common: ``sum over x of min(left[x], right[x])``.

    Returns:
        0 (nothing) to 1 (equal); one minus the total variation distance. Symmetric. NaN where
        either is of nothing. Small samples of one source overlap by less than 1: look at halves.

    >>> overlap({"en": 0.5, "ne": 0.5}, {"ne": 1.0})
    0.5
    """
    if not left or not right:
        return float("nan")
    return float(sum(min(part, right[x]) for x, part in left.items() if x in right))


def answer_form(example: Sides) -> str:
    r"""The form of an answer, by the first that fits.

    ``choice`` (one of given ones), ``text`` (running text, nobody asked), ``nothing``, ``number``,
    ``code`` (fenced), ``data`` (begins as JSON does), ``list`` (half of its lines are marked),
    ``words`` (one to three), ``sentences`` (one paragraph), ``paragraphs``.

    >>> answer_form(Sides("How many?", "42")), answer_form(Sides("Name two.", "- a\n- b"))
    ('number', 'list')
    """
    text = example.answered.strip()
    lines = [line for line in text.splitlines() if line.strip()]
    forms = (
        ("choice", example.choices),
        ("text", not example.asked),
        ("nothing", not text),
        ("number", NUMBER.fullmatch(text) is not None and any(map(str.isdigit, text))),
        ("code", "```" in text),
        ("data", text.startswith(("{", "["))),
        ("list", len(lines) > 1 and 2 * sum(map(_is_marked, lines)) >= len(lines)),
        ("words", len(words(text)) <= FEW_WORDS),
        ("sentences", len(lines) == 1),
    )
    return next((name for name, fits in forms if fits), "paragraphs")


def _is_marked(line: str) -> bool:
    return LIST_LINE.match(line) is not None
