"""What was learnt, kept and lost, read off the score matrix.

Shapes: P = rows, one per phase; T = tasks; I = items. Leading axes (``...``, resamples or seeds)
pass through every function. Scores are *oriented*: higher is better (`oriented` turns the others
round). Where a matrix must be square, task t is the one that phase t trains on, so that
``score_PT[p, t]`` is task t's score once phase p is done; ``base_T`` is row 0, the base model.

A missing score is NaN and makes every number that needs it NaN; nothing is ever filled in.
Functions return one number per task: tasks of unlike units are never averaged here, and
`mean_of_like_units` is the only mean over tasks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Flips(NamedTuple):
    """Items that changed side between two checkpoints, as fractions of all items (0-1)."""

    right_to_wrong: float
    wrong_to_right: float


def oriented(score: Floats, higher_is_better: bool) -> Floats:
    """The score with higher meaning better: negated when lower is better, else unchanged.

    >>> oriented(np.array([1.08]), higher_is_better=False)
    array([-1.08])
    """
    return score if higher_is_better else -score


def change_from_base(score_PT: Floats, base_T: Floats) -> Floats:
    """How far each task stands from the base model after each phase.

    For every phase p and task t: ``score[p, t] - base[t]``.

    Args:
        score_PT: Oriented scores, in any unit, shape (..., P, T).
        base_T: Oriented row 0, shape (..., T).

    Returns:
        Shape (..., P, T), in the unit of the scores. Negative is loss.

    Raises:
        ValueError: If the numbers of tasks differ.

    Source: Wang et al., "TRACE", 2023, https://arxiv.org/abs/2310.06762 (there, delta R^G is the
    mean of these over general benchmarks). Departure: not averaged, so that each benchmark is seen.

    >>> change_from_base(np.array([[0.5, 0.25]]), np.array([0.75, 0.25]))
    array([[-0.25,  0.  ]])
    """
    _same_tasks(score_PT, base_T)
    change_PT: Floats = score_PT - base_T[..., None, :]
    return change_PT


def relative_loss(score_PT: Floats, base_T: Floats) -> Floats:
    """FG before its mean: the part of row 0 that each task has lost after each phase.

    For every phase p and task t: ``(base[t] - score[p, t]) / |base[t]|``. The published FG of a
    group is the mean over all phases, then over the group's tasks, times 100 %; its last-phase
    variant is the last row alone. See `all_phase_mean`.

    Args:
        score_PT: Oriented scores, shape (..., P, T).
        base_T: Oriented row 0, shape (..., T).

    Returns:
        Shape (..., P, T), a fraction of row 0 (not percent). Positive is loss. NaN where row 0
        is 0.

    Raises:
        ValueError: If the numbers of tasks differ.

    Source: Luo et al., "An Empirical Study of Catastrophic Forgetting in Large Language Models
    During Continual Fine-tuning", 2023, https://arxiv.org/abs/2308.08747. Departures: a fraction
    instead of percent; the absolute value below the line, so that turned-round metrics keep the
    sign.

    >>> relative_loss(np.array([[0.4], [0.3]]), np.array([0.5])).round(2)
    array([[0.2],
           [0.4]])
    """
    _same_tasks(score_PT, base_T)
    base = np.where(base_T == 0, np.nan, base_T)[..., None, :]
    loss_PT: Floats = (base - score_PT) / np.abs(base)
    return loss_PT


def chance_adjusted_loss(
    score_PT: Floats, base_T: Floats, chance_T: Floats, above_chance_T: NDArray[np.bool_]
) -> Floats:
    """FG before its mean with chance taken off: the part of what row 0 really knew that is lost.

    ``(base - score) / (base - chance)``: with (R - c) / (1 - c) in place of every R, 1 - c cancels.

    Args:
        score_PT: Oriented scores, higher is better by nature, shape (..., P, T).
        base_T: Row 0, shape (..., T).
        chance_T: Score of guessing, shape (T,); NaN where there is none.
        above_chance_T: Whether the interval of row 0 minus chance lies above 0, shape (T,).

    Returns:
        Shape (..., P, T), a fraction. Positive is loss; 1 means that nothing above chance is left.
        NaN (refused) for a task whose row 0 is not above chance: the quotient would be noise.

    Raises:
        ValueError: If the numbers of tasks differ.

    Source: form inferred (papers' notes, 4.5), to answer Luo et al. 2023's blindness for chance.

    >>> chance_adjusted_loss(
    ...     np.array([[0.50, 0.26]]), np.array([0.75, 0.27]), np.array([0.25, 0.25]),
    ...     np.array([True, False]),
    ... )
    array([[0.5, nan]])
    """
    _same_tasks(score_PT, base_T)
    known_T = base_T - chance_T
    known_T = np.where(above_chance_T & (known_T != 0), known_T, np.nan)
    loss_PT: Floats = (base_T[..., None, :] - score_PT) / known_T[..., None, :]
    return loss_PT


def all_phase_mean(value_PT: Floats) -> Floats:
    """Mean over all phases, one number per task: FG as published, given `relative_loss`.

    For every task t: ``(1 / P) sum over p of value[p, t]``.

    Source: Luo et al. 2023 (see `relative_loss`): the mean is over all stages, not the last alone.

    >>> all_phase_mean(np.array([[0.2], [0.4]])).round(2)
    array([0.3])
    """
    mean_T: Floats = np.asarray(value_PT).mean(axis=-2)
    return mean_T


def forgetting(score_PT: Floats) -> Floats:
    """How far each earlier task ends below the best it ever was.

    For every task t but the last: ``max over p < P-1 of score[p, t]  -  score[P-1, t]``.

    Args:
        score_PT: Oriented scores, square, shape (..., P, T).

    Returns:
        Shape (..., T-1), in the unit of the scores. Positive is loss; negative means that later
        phases improved the task. Empty when there is one phase.

    Raises:
        ValueError: If the matrix is not square.

    Source: Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018,
    https://arxiv.org/abs/1801.10112. Not the same as negated backward transfer, which compares
    with the score right after learning. Row 0 is not among the earlier rows.

    >>> forgetting(np.array([[0.90, 0.10], [0.75, 0.80]])).round(2)
    array([0.15])
    """
    _square(score_PT)
    if score_PT.shape[-1] == 1:
        return np.empty((*score_PT.shape[:-2], 0))
    lost_T: Floats = score_PT[..., :-1, :-1].max(axis=-2) - score_PT[..., -1, :-1]
    return lost_T


def backward_transfer(score_PT: Floats) -> Floats:
    """What later phases did to each earlier task, against the score right after learning it.

    For every task t but the last: ``score[P-1, t] - score[t, t]``.

    Args:
        score_PT: Oriented scores, square, shape (..., P, T).

    Returns:
        Shape (..., T-1), in the unit of the scores. Negative is loss. Empty with one phase.

    Raises:
        ValueError: If the matrix is not square.

    Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory", 2017,
    https://arxiv.org/abs/1706.08840: their BWT is the mean of these over T-1 tasks.

    >>> backward_transfer(np.array([[0.90, 0.10], [0.75, 0.80]])).round(2)
    array([-0.15])
    """
    _square(score_PT)
    gained_T: Floats = score_PT[..., -1, :-1] - just_learnt(score_PT)[..., :-1]
    return gained_T


def forward_transfer(score_PT: Floats, base_T: Floats) -> Floats:
    """What earlier phases did for each task before its own phase came.

    For every task t but the first: ``score[t-1, t] - base[t]``.

    Args:
        score_PT: Oriented scores, square, shape (..., P, T).
        base_T: Oriented row 0, shape (..., T).

    Returns:
        Shape (..., T-1), in the unit of the scores. Positive is gain. Empty with one phase.

    Raises:
        ValueError: If the matrix is not square, or the numbers of tasks differ.

    Source: Lopez-Paz and Ranzato 2017 (see `backward_transfer`). Departure: compared with the base
    model's row 0, where they take a randomly initialised model.

    >>> forward_transfer(np.array([[0.90, 0.10], [0.75, 0.80]]), np.array([0.2, 0.05])).round(2)
    array([0.05])
    """
    _square(score_PT)
    _same_tasks(score_PT, base_T)
    before_T = np.diagonal(score_PT, offset=1, axis1=-2, axis2=-1)
    gained_T: Floats = before_T - base_T[..., 1:]
    return gained_T


def just_learnt(score_PT: Floats) -> Floats:
    """Each task's score right after its own phase: how well each was learnt at all.

    For every task t: ``score[t, t]``. Over like units the mean is the learning score.

    Args:
        score_PT: Oriented scores, square, shape (..., P, T).

    Returns:
        The diagonal, shape (..., T), in the unit of the scores.

    Raises:
        ValueError: If the matrix is not square.

    >>> just_learnt(np.array([[0.90, 0.10], [0.75, 0.80]]))
    array([0.9, 0.8])
    """
    _square(score_PT)
    return np.diagonal(score_PT, axis1=-2, axis2=-1)


def loss_avoided(arm: Floats, base: Floats, control: Floats) -> Floats:
    """How much of the control's loss on a task an arm does not have.

    ``(arm - control) / (base - control)``, the control being plain sequential fine-tuning.

    Args:
        arm: The arm's oriented score after training; any unit, any shape.
        base: The base model's.
        control: That of `none` after training.

    Returns:
        A ratio: 1 is nothing lost, 0 as much as the control, above 1 better than the base model.
        NaN where the control lost exactly nothing; callers refuse it wherever that loss is within
        its interval.

    Source: the "recovery" of Zhang et al. (2406.11354), as inferred; renamed, because a brief
    retune has a recovery of its own.

    >>> loss_avoided(np.array([0.5]), np.array([0.6]), np.array([0.4])).round(2)
    array([0.5])
    """
    return learnt(arm, control, base)


def learnt(arm: Floats, before: Floats, control: Floats) -> Floats:
    """How much of the control's gain on a new task an arm made too.

    ``(arm - before) / (control - before)``, the control being plain sequential fine-tuning.

    Args:
        arm: The arm's score after the phase; any unit and direction, any shape.
        before: The score before the phase.
        control: The score of `none` after the phase.

    Returns:
        A ratio: 1 is as much as the control, 0 nothing, negative worse than before. NaN where the
        control gained exactly nothing; callers refuse it wherever that gain is within its interval.

    Source: ours; plasticity is usually told as the learning score alone (see `just_learnt`), which
    cannot be compared between tasks.

    >>> learnt(np.array([0.6]), np.array([0.2]), np.array([0.7])).round(2)
    array([0.8])
    """
    gain = np.asarray(control - before, dtype=np.float64)
    share: Floats = np.asarray((arm - before) / np.where(gain == 0, np.nan, gain))
    return share


def flips(before_I: Floats, after_I: Floats) -> Flips:
    """How many items went from right to wrong, and from wrong to right.

    Args:
        before_I: 1 (right) or 0 (wrong) for each item at the earlier checkpoint.
        after_I: The same for the later one, in the same order.

    Returns:
        Fractions of all items. Their difference is the change of accuracy, turned round:
        ``right_to_wrong - wrong_to_right == mean(before) - mean(after)``.

    Raises:
        ValueError: If the lengths differ, there is no item, or a value is neither 0 nor 1.

    Source: "Mapping Post-Training Forgetting in Language Models at Scale", 2025,
    https://arxiv.org/abs/2510.17776.

    >>> flips(np.array([1.0, 1, 0, 0]), np.array([0.0, 1, 1, 0]))
    Flips(right_to_wrong=0.25, wrong_to_right=0.25)
    """
    if before_I.shape != after_I.shape or before_I.size == 0:
        raise ValueError(f"need the same items twice, got {before_I.shape} and {after_I.shape}")
    if not (np.isin(before_I, (0, 1)).all() and np.isin(after_I, (0, 1)).all()):
        raise ValueError("flips are of items that are right (1) or wrong (0); got other values")
    return Flips(
        float(((before_I == 1) & (after_I == 0)).mean()),
        float(((before_I == 0) & (after_I == 1)).mean()),
    )


def lost_beyond_chance(
    right_to_wrong: Floats, accuracy_before: Floats, accuracy_after: Floats, chance: float
) -> Floats:
    """Right-to-wrong flips that lucky guesses do not explain.

    ``max(F - (1 - a_before) / (k - 1) * (1 - a_after), 0)`` with ``k = 1 / chance`` choices: of all
    items (1 - a_before) / (k - 1) are right by luck, and 1 - a_after of those turn wrong again.

    Args:
        right_to_wrong: Fraction of all items, from `flips`; any shape.
        accuracy_before: Fraction right at the earlier checkpoint, same shape.
        accuracy_after: Fraction right at the later one, same shape.
        chance: Accuracy of guessing, inside (0, 1).

    Returns:
        A fraction of all items, at least 0. Positive is loss.

    Raises:
        ValueError: If chance is not inside (0, 1).

    Source: as `flips`. Departure: where items have unlike numbers of choices, k is 1 over the mean
    chance.

    >>> lost_beyond_chance(np.array([0.25]), np.array([0.7]), np.array([0.6]), 0.25).round(2)
    array([0.21])
    """
    if not 0 < chance < 1:
        raise ValueError(f"chance must lie inside (0, 1), got {chance}")
    lucky = (1 - accuracy_before) / (1 / chance - 1)
    lost: Floats = np.maximum(right_to_wrong - lucky * (1 - accuracy_after), 0.0)
    return lost


def mean_of_like_units(value_T: Floats, units: Sequence[str]) -> dict[str, Floats]:
    """One mean per unit: tasks measured in unlike units are never averaged.

    Args:
        value_T: One number per task, shape (..., T).
        units: The unit of each task; a turned-round metric has a unit of its own.

    Returns:
        Unit to mean, shape (...), in order of first appearance. NaN if any task of the unit is.

    Raises:
        ValueError: If the numbers of tasks differ.

    >>> mean_of_like_units(np.array([0.25, 0.75, -1.1]), ["fraction", "fraction", "-bits_per_byte"])
    {'fraction': np.float64(0.5), '-bits_per_byte': np.float64(-1.1)}
    """
    if value_T.shape[-1] != len(units):
        raise ValueError(f"{value_T.shape[-1]} values, {len(units)} units")
    names = np.array(units)
    return {unit: value_T[..., names == unit].mean(axis=-1) for unit in dict.fromkeys(units)}


def _same_tasks(score_PT: Floats, base_T: Floats) -> None:
    if score_PT.ndim < 2 or score_PT.shape[-1] != base_T.shape[-1]:
        raise ValueError(f"scores of shape {score_PT.shape} do not fit row 0 of {base_T.shape}")


def _square(score_PT: Floats) -> None:
    if score_PT.ndim < 2 or score_PT.shape[-1] != score_PT.shape[-2] or score_PT.shape[-1] == 0:
        raise ValueError(f"need one task per phase, a square matrix; got shape {score_PT.shape}")
