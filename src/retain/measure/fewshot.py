"""Whether examples in the prompt bring back what a model no longer does without them.

Shapes: N = the figure itself and its resamples, all four scores under the same ones.
"""

import math

import numpy as np
from numpy.typing import NDArray

from retain.measure.statistics import Interval

Floats = NDArray[np.float64]


def extra_gain(now_k_N: Floats, now_0_N: Floats, base_k_N: Floats, base_0_N: Floats) -> Floats:
    """How much more k examples help the adapted model than they help the base model.

    ``(s_k - s_0) of the adapted model - (s_k - s_0) of the base model``.

    Args:
        now_k_N: Score of the adapted model with k examples, higher is better.
        now_0_N: Without any.
        base_k_N: Of the base model with k examples.
        base_0_N: Without any.

    Returns:
        In the unit of the scores. Positive where examples help the adapted model more: what it
        lost without them was, to that extent, not gone. 0 where both gain alike, whatever both
        lost.

    Source: the shots sweep of Duwal, Prasai and Manandhar, 2024, https://arxiv.org/abs/2412.13860.
    Departure: a difference of points, where they compare relative gains (see `relative_gain`).

    >>> extra_gain(*map(np.array, ([0.5], [0.25], [0.625], [0.5])))
    array([0.125])
    """
    return (now_k_N - now_0_N) - (base_k_N - base_0_N)


def relative_gain(
    score_k_N: Floats, score_0_N: Floats, *, level: float | None, interval_0: Interval
) -> Floats:
    """What k examples add as a part of the score without any, in percent.

    ``100 (s_k - s_0) / s_0``.

    Args:
        score_k_N: Scores with k examples, higher is better.
        score_0_N: Without any.
        level: What guessing scores; None where there is no such thing.
        interval_0: Of the score without any.

    Returns:
        Percent of the score without examples. NaN where that score is not above 0, or not above
        ``level`` beyond its interval: a small score makes any gain look large.

    Source: Duwal, Prasai and Manandhar, 2024, https://arxiv.org/abs/2412.13860, as reported ("up
    to +19.29 % adapted, +4.98 % base"). Departure: empty instead of large where there is little to
    divide by.

    >>> relative_gain(np.array([0.6]), np.array([0.5]), level=0.25, interval_0=Interval(0.4, 0.6))
    array([20.])
    """
    at_level = level is not None and not interval_0.low > level
    if at_level or not score_0_N[0] > 0:
        return np.full_like(score_k_N, math.nan)
    divided_by = np.where(score_0_N > 0, score_0_N, math.nan)
    gain_N: Floats = 100 * (score_k_N - score_0_N) / divided_by
    return gain_N
