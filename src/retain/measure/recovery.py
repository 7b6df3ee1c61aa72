"""Whether a brief retune brings a loss back: then what was lost was the way to it, not itself.

Shapes: N = the figure itself and its resamples, all scores of one task under the same ones.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retain.measure.statistics import percentile_interval

Floats = NDArray[np.float64]


class Scores(NamedTuple):
    """Scores of one task, higher is better.

    Attributes:
        base: Of the model from before the loss: the base model, or for a task that was taught the
            checkpoint right after its phase.
        last: Of the adapted model.
        retuned: Of the adapted model after a brief retune on other data of the task.
        base_retuned: Of the model from before after the same retune: what that teaches by itself.
        placebo: Of the adapted model after as long a retune on data that has nothing to do with
            the task.
    """

    base: Floats
    last: Floats
    retuned: Floats
    base_retuned: Floats
    placebo: Floats


class Recovery(NamedTuple):
    """What a retune did; sampled figures.

    Attributes:
        returned: What came back, beyond what the retune teaches the model from before, in the unit
            of the scores: ``(retuned - last) - (base_retuned - base)``.
        share: ``returned`` as a part of the loss ``base - last``; 1 is all of it. NaN where the
            loss is not above 0 beyond its interval.
        placebo_share: What the placebo brought back, as a part of the loss; NaN likewise.
    """

    returned: Floats
    share: Floats
    placebo_share: Floats


def recovery(scores: Scores) -> Recovery:
    """How much of a loss a brief retune returns, the retune's own teaching taken off.

    Args:
        scores: Five scores on the same items, none of which any retune saw.

    Returns:
        Shares below 0 mean that the retune did further harm, above 1 that more came back than was
        lost. Read ``share`` beside ``placebo_share``: what any further training brings back says
        nothing of this task.

    Raises:
        ValueError: If the shapes differ.

    Source: the recovery test of "Spurious Forgetting in Continual Learning of Language Models",
    ICLR 2025, as its code does it (zzz47zzz/spurious-forgetting). Departures: the ratio; the
    subtraction of what the retune teaches the model from before; the placebo; and that a loss
    within its interval has no share.

    >>> five = (0.8, 0.5, 0.75, 0.85, 0.5)
    >>> found = recovery(Scores(*(np.full(41, score) for score in five)))
    >>> round(float(found.returned[0]), 3), round(float(found.share[0]), 3)
    (0.2, 0.667)
    """
    if len({one.shape for one in scores}) > 1:
        raise ValueError(f"scores of unlike shapes: {[one.shape for one in scores]}")
    lost_N = scores.base - scores.last
    returned_N = (scores.retuned - scores.last) - (scores.base_retuned - scores.base)
    if not percentile_interval(lost_N[1:]).is_above_zero or not lost_N[0] > 0:
        empty_N = np.full_like(lost_N, math.nan)
        return Recovery(returned_N, empty_N, empty_N)
    divided_by = np.where(lost_N == 0, math.nan, lost_N)
    return Recovery(
        returned_N, returned_N / divided_by, (scores.placebo - scores.last) / divided_by
    )
