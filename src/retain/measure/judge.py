"""What a judge's verdicts on pairs of answers come to once both orders of showing are known.

Shapes: I = items. A verdict is of one order: 1 where the answer shown first is found better, -1
where the second is, 0 for a tie.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def preference(first_I: Floats, second_I: Floats) -> Floats:
    """How far the judge prefers an answer to its rival, the place it stands in taken out.

    ``(2 + first - second) / 4``: the mean over both orders of 1 for preferred, 1/2 for a tie and 0.

    Args:
        first_I: Verdicts where the answer is shown first, its rival second.
        second_I: Verdicts on the same pairs where the answer is shown second.

    Returns:
        0 to 1 for each item, in quarters: 1 where the answer is preferred in both orders, 1/2 where
        the judge says tie, or always takes the same place. The mean is a win rate in which a tie
        is half a win; 1/2 is neutral. Swapping answer and rival gives 1 less.

    Raises:
        ValueError: If the shapes differ or a verdict is not -1, 0 or 1.

    Source: both orders as in Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot
    Arena", 2023, https://arxiv.org/abs/2306.05685. Departure: one decided order and one tie count
    as three quarters, where they count every disagreement as a tie.

    >>> preference(np.array([1.0, 1.0, 0.0]), np.array([-1.0, 1.0, -1.0]))
    array([1.  , 0.5 , 0.75])
    """
    _check(first_I, second_I)
    preferred_I: Floats = (2 + first_I - second_I) / 4
    return preferred_I


def position_bias(first_I: Floats, second_I: Floats) -> Floats:
    """How far the judge takes what is shown first, whichever answer that is.

    ``(first + second) / 2``.

    Returns:
        -1 to 1 for each item: 1 where the first place won in both orders, -1 where the second did.
        The mean of a judge without such a habit is 0; args, errors and source as `preference`.

    >>> position_bias(np.array([1.0, 1.0, 0.0]), np.array([-1.0, 1.0, -1.0]))
    array([ 0. ,  1. , -0.5])
    """
    _check(first_I, second_I)
    bias_I: Floats = (first_I + second_I) / 2
    return bias_I


def order_agreement(first_I: Floats, second_I: Floats) -> Floats:
    """Whether both orders end alike: 1 where they do (``first == -second``), else 0.

    Args, errors and source as `preference`; its mean is the consistency of Zheng et al.

    >>> order_agreement(np.array([1.0, 1.0, 0.0]), np.array([-1.0, 1.0, 0.0]))
    array([1., 0., 1.])
    """
    _check(first_I, second_I)
    agrees_I: Floats = np.where(first_I == -second_I, 1.0, 0.0)
    return agrees_I


def _check(first_I: Floats, second_I: Floats) -> None:
    if first_I.shape != second_I.shape:
        raise ValueError(f"verdicts of unlike shapes: {first_I.shape} and {second_I.shape}")
    if not np.isin(np.concatenate([first_I, second_I]), (-1, 0, 1)).all():
        raise ValueError("a verdict is -1, 0 or 1")
