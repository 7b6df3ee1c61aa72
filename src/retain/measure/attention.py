"""Whether attention heads follow a dependency between two words, beyond what distance explains.

Shapes: L layers, H heads, T tokens of a sentence, S sentences, B permutations.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

NUM_PERMUTATIONS = 2000


class Words(NamedTuple):
    """Two words of one sentence as tokens: the places of the earlier one and of the later one."""

    earlier: tuple[int, ...]
    later: tuple[int, ...]

    @property
    def distance(self) -> int:
        """Tokens from the end of the earlier word to the start of the later one."""
        return self.later[0] - self.earlier[-1]


class HeadTest(NamedTuple):
    """What sentences say of each head.

    Attributes:
        mean: Mean over sentences, [L, H]; NaN where no sentence says anything.
        p: P value of "0 on average", corrected over all heads; NaN likewise.
    """

    mean: Floats
    p: Floats

    @property
    def num_heads(self) -> int:
        """Heads whose mean differs from 0 at the level 0.05, over all heads at once."""
        return int((self.p <= 0.05).sum())


def word_attention(weight_LHTT: Floats, places: Sequence[tuple[int, ...]]) -> Floats:
    """How much of each word's attention goes to each word.

    ``mean over q in one word of sum over k in the other of A[l, h, q, k]``.

    Args:
        weight_LHTT: Attention weights of one sentence: each row q adds up to 1 over the keys k.
        places: The tokens of each word; words share no token, and need not cover the sentence.

    Returns:
        Shape (L, H, W, W): from the word in the third place to the word in the fourth, 0..1. Rows
        add up to 1 where the words cover the sentence.

    Raises:
        ValueError: If a word has no token, or one outside the sentence.

    Source: the attention heat maps of Duwal, Prasai and Manandhar, 2024,
    https://arxiv.org/abs/2412.13860, whose text was not at hand; from tokens to words as Clark,
    Khandelwal, Levy and Manning, "What Does BERT Look At?", 2019,
    https://arxiv.org/abs/1906.04341. Departures: none from the latter.

    >>> word_attention(np.array([[[[1.0, 0.0], [0.25, 0.75]]]]), [(0,), (1,)])[0, 0, 1]
    array([0.25, 0.75])
    """
    num_tokens = weight_LHTT.shape[-1]
    member_WT = np.zeros((len(places), num_tokens))
    for word, tokens in enumerate(places):
        if not tokens or not 0 <= min(tokens) <= max(tokens) < num_tokens:
            raise ValueError(f"word {word} has the tokens {tokens} of a sentence of {num_tokens}")
        member_WT[word, list(tokens)] = 1
    mean_WT = member_WT / member_WT.sum(axis=1, keepdims=True)
    found: Floats = np.einsum("wq,lhqk,vk->lhwv", mean_WT, weight_LHTT, member_WT, optimize=True)
    return found


def even_share(words: Words) -> float:
    """What the earlier word gets of the later word's attention where it is spread evenly.

    ``pieces of the earlier word * mean over q in later of 1 / (q + 1)``: a causal model sees q + 1
    tokens from place q. Two pairs differ in this where one stands later in its sentence, so a
    control is brought to the dependency's share before the two are compared: a head that spreads
    evenly (or evenly over what a sink leaves) then shows no difference at all.

    Args:
        words: The pair.

    Returns:
        A fraction, above 0 to 1. Without regard to local layers.

    >>> even_share(Words((0, 1), (3,)))
    0.5
    """
    return len(words.earlier) * sum(1 / (q + 1) for q in words.later) / len(words.later)


def mismatch(one: Words, other: Words) -> int:
    """How unlike two pairs of words are in shape: 0 for the same distance and numbers of pieces.

    ``|difference of distances| + |of pieces of the earlier words| + |of the later words|``, in
    tokens.

    >>> mismatch(Words((1,), (3,)), Words((2, 3), (4,)))
    2
    """
    return (
        abs(one.distance - other.distance)
        + abs(len(one.earlier) - len(other.earlier))
        + abs(len(one.later) - len(other.later))
    )


def matched(
    marked: Words, candidates: Sequence[Words], used: Sequence[int], num_wanted: int
) -> list[int]:
    """The candidates most like a marked pair in distance and pieces.

    Of those that are as like, the ones that serve least often elsewhere come first (controls that
    all sentences share would make them agree with each other), then those whose later word stands
    nearest to the marked one's.

    Args:
        marked: The dependency.
        candidates: Other pairs of words.
        used: How often each candidate is a control already.
        num_wanted: How many at most.

    Returns:
        Their indices.

    >>> pairs = [Words((2,), (3,)), Words((3,), (5,)), Words((0,), (2,))]
    >>> matched(Words((1,), (3,)), pairs, [0, 0, 0], 2)
    [2, 1]
    >>> matched(Words((1,), (3,)), pairs, [0, 0, 1], 2)
    [1, 2]
    """

    def unlike(index: int) -> tuple[int, int, int, int]:
        other = candidates[index]
        apart = abs(marked.later[0] - other.later[0])
        return mismatch(marked, other), used[index], apart, index

    return sorted(range(len(candidates)), key=unlike)[:num_wanted]


def compare_heads(
    apart_SLH: Floats, rng: np.random.Generator, *, num_permutations: int = NUM_PERMUTATIONS
) -> HeadTest:
    """Which heads attend to dependencies more (or less) than to their controls.

    The statistic of a head is ``t = mean / (sd / sqrt(n))`` over its sentences. If dependency and
    control were exchangeable, each sentence's difference could as well have the other sign: signs
    are flipped for whole sentences, all heads together, and a head's p value is how often the
    largest |t| of all heads reaches its own, ``(count + 1) / (B + 1)``.

    Args:
        apart_SLH: Attention to the dependency less that to its control, for each sentence; NaN
            where a head cannot see that far.
        rng: Where the signs come from.
        num_permutations: How many times signs are flipped.

    Returns:
        Means and p values, of no direction. With n sentences no p can be much under
        ``2 ** (1 - n)``. Alike for all multiples of the differences.

    Raises:
        ValueError: If there is no sentence.

    Source: Nichols and Holmes, "Nonparametric Permutation Tests for Functional Neuroimaging", 2002
    (single threshold by the maximum statistic). Departure: random flips, the observed one counted.

    >>> apart_SLH = np.array([[[1.0, 0.0]], [[1.5, 0.0]]] * 9)
    >>> compare_heads(apart_SLH, np.random.default_rng(0)).num_heads
    1
    """
    num_sentences = len(apart_SLH)
    if num_sentences == 0:
        raise ValueError("no sentence to compare heads on")
    flat_SN = np.asarray(apart_SLH, np.float64).reshape(num_sentences, -1)
    known_SN = ~np.isnan(flat_SN)
    count_N = known_SN.sum(axis=0)
    value_SN = np.where(known_SN, flat_SN, 0.0)
    squares_N = np.square(value_SN).sum(axis=0)  # the same whatever the signs

    def t_of(sign_BS: Floats) -> Floats:
        sum_BN = sign_BS @ value_SN
        mean_BN = sum_BN / np.maximum(count_N, 1)
        spread_BN = squares_N - mean_BN * sum_BN
        error_BN = np.sqrt(np.maximum(spread_BN, 0) / np.maximum(count_N * (count_N - 1), 1))
        floor_N = 1e-9 * np.sqrt(squares_N)  # all alike: as sure as can be, but not infinite
        t_BN: Floats = np.abs(mean_BN) / np.maximum(error_BN, np.where(floor_N > 0, floor_N, 1.0))
        return t_BN

    own_N = t_of(np.ones((1, num_sentences)))[0]
    signs_BS = rng.choice([-1.0, 1.0], size=(num_permutations, num_sentences))
    largest_B = t_of(signs_BS).max(axis=1)
    reached_N = (largest_B[:, None] >= own_N * (1 - 1e-9)).sum(axis=0)
    p_N = (reached_N + 1) / (num_permutations + 1)
    shape = apart_SLH.shape[1:]
    mean_N = value_SN.sum(axis=0) / np.maximum(count_N, 1)
    is_known_N = count_N > 1
    return HeadTest(
        np.where(is_known_N, mean_N, math.nan).reshape(shape),
        np.where(is_known_N, p_N, math.nan).reshape(shape),
    )
