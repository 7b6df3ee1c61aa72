"""Tests between checkpoints, and what becomes of them when there are many.

Shapes: B = resamples; A = comparisons, one for each arm.
"""

import math

import numpy as np
from numpy.typing import NDArray

from retain.measure.statistics import binomial_tail

Floats = NDArray[np.float64]


def mcnemar(num_right_to_wrong: int, num_wrong_to_right: int) -> float:
    """How likely flips as one-sided as these are, if both directions were equally likely.

    ``min(1, 2 P(X >= max(b, c)))`` with X binomial of b + c trials at 1/2; items that did not flip
    say nothing about a difference.

    Args:
        num_right_to_wrong: Items that were right at the earlier checkpoint alone (b).
        num_wrong_to_right: Items that are right at the later one alone (c).

    Returns:
        Two-sided p value, above 0 to 1; 1 where nothing flipped. Small: accuracy changed. It says
        nothing about how much. Symmetric.

    Raises:
        ValueError: If a number is negative.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", 1947. Departure: the exact test, not the chi-square approximation. Items are taken
    to stand alone; where they share sources, use the clustered interval of
    `retain.measure.statistics.paired_interval`.

    >>> mcnemar(10, 2).__round__(4), mcnemar(3, 3)
    (0.0386, 1.0)
    """
    if min(num_right_to_wrong, num_wrong_to_right) < 0:
        raise ValueError(f"no such flips: {num_right_to_wrong} and {num_wrong_to_right}")
    num_flips = num_right_to_wrong + num_wrong_to_right
    most = max(num_right_to_wrong, num_wrong_to_right)
    return min(1.0, 2 * binomial_tail(most, num_flips, 0.5))


def draws_p_value(draws_B: Floats, num_sources: int | None = None) -> float:
    """The p value of "no difference" that goes with a bootstrap interval.

    ``(2 min(#{d <= 0}, #{d >= 0}) + 1) / (B + 1)``, at most 1: about the level at which the
    percentile interval begins to leave 0 out. Not under ``2 ** (1 - n)`` with n source items: that
    often all n differ in the same direction though either is as likely, and n items drawn again and
    again cannot be surer than they are.

    Args:
        draws_B: Resampled differences.
        num_sources: Source items that were resampled; None knows no such floor.

    Returns:
        Above 0 to 1, never under 1 / (B + 1). NaN without draws, or where a draw is NaN.

    Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 5.4, with
    their + 1. Departure: the floor, which is the least p of the sign test.

    >>> draws_p_value(np.arange(1.0, 100.0)), draws_p_value(np.array([-1.0, 1.0]))
    (0.01, 1.0)
    >>> draws_p_value(np.arange(1.0, 1000.0), num_sources=8)
    0.0078125
    """
    if draws_B.size == 0 or np.isnan(draws_B).any():
        return math.nan
    beyond = min(int((draws_B <= 0).sum()), int((draws_B >= 0).sum()))
    least = 0.0 if num_sources is None else 2.0 ** (1 - num_sources)
    return min(1.0, max(least, (2 * beyond + 1) / (draws_B.size + 1)))


def holm(p_A: Floats) -> Floats:
    """P values that hold for all comparisons together, by Holm's step-down rule.

    In ascending order, ``adjusted_i = max over j <= i of min(1, (m - j + 1) p_j)`` for m
    comparisons. Calling those at or under 0.05 different is wrong about any of them in at most 5 %
    of all studies, however the comparisons depend on each other.

    Args:
        p_A: One p value for each arm that is compared with the same control. NaN, a comparison that
            could not be made, stays NaN and is not counted.

    Returns:
        Shape (A,), in the given order, never smaller than what was given, at most 1.

    Raises:
        ValueError: If a p value is not in 0..1.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_A, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p))
    if ((p[known] < 0) | (p[known] > 1)).any():
        raise ValueError(f"p values lie in 0..1, got {p[known].tolist()}")
    order = known[np.argsort(p[known], kind="stable")]
    raised = p[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(p.shape, math.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return adjusted
