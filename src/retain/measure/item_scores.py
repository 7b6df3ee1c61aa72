"""Scores and their resamples, from the figures that are kept of each item.

Shapes: I items; K figures of an item; R rows that are scored on the same items; B resamples;
N = 1 + B, entry 0 being the score itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retain.measure.statistics import (
    MIN_CLUSTERS,
    NUM_RESAMPLES,
    num_clusters,
    ratio_of_sums,
    resampled_scores,
)

Floats = NDArray[np.float64]
Names = NDArray[np.str_]
Formula = Callable[..., Floats]
"""From K ratios of sums, arrays of one shape, to one score."""


@dataclass(frozen=True)
class ItemFigures:
    """What one score is made of: ``sum(values) / sum(weights)``, or a formula of K such ratios.

    Attributes:
        values: Above the line, shape (I,); with a formula (K, I).
        weights: Below the line, shape (I,); None means 1 for each item.
        formula: Makes one score of the K ratios; None where there is one ratio, the score itself.
    """

    values: Floats
    weights: Floats | None = None
    formula: Formula | None = None

    @property
    def score(self) -> float:
        """The score of the items as they are.

        >>> ItemFigures(np.array([1.0, 0.0])).score
        0.5
        """
        ratios = [np.array(ratio_of_sums(one, self.weights)) for one in _rows(self)]
        return float(ratios[0] if self.formula is None else self.formula(*ratios))


def means_of_sources(
    values: Floats, sources_I: Names, formula: Formula | None = None
) -> ItemFigures:
    """The mean over source items of each one's mean: every source weighs alike.

    As a ratio of sums, ``sum(v / n) / sum(1 / n)`` with n the items of an item's source. Since
    whole sources are drawn, it is that mean in every resample too.

    Args:
        values: Of each item, shape (I,); with a formula (K, I).
        sources_I: The source of each item.
        formula: See `ItemFigures`.

    >>> means_of_sources(np.array([1.0, 0.0, 0.0]), np.array(["a", "b", "b"])).score
    0.5
    """
    _, index_I, count = np.unique(sources_I, return_inverse=True, return_counts=True)
    weights_I = 1 / count[index_I]
    return ItemFigures(values * weights_I, weights_I, formula)


def sampled_scores(
    rows: Sequence[ItemFigures],
    rng: np.random.Generator,
    *,
    clusters_I: Names,
    num_resamples: int = NUM_RESAMPLES,
) -> Floats:
    """The score of every row, and under resampled items, all rows with the same items in each draw.

    Args:
        rows: Scored on the same items in the same order.
        rng: Where the draws come from.
        clusters_I: The source of each item; items of one source are drawn together.
        num_resamples: How many draws.

    Returns:
        Shape (R, N), in the unit of the scores. All draws are NaN where there are fewer than
        `MIN_CLUSTERS` sources: too few to speak of an interval.

    Raises:
        ValueError: If there is no item, or shapes do not fit.

    >>> one = ItemFigures(np.ones(8))
    >>> sampled_scores([one], np.random.default_rng(0), clusters_I=np.arange(8).astype(str),
    ...     num_resamples=2)
    array([[1., 1., 1.]])
    """
    points_R = np.array([row.score for row in rows])
    if num_clusters(clusters_I) < MIN_CLUSTERS:
        draws_RB = np.full((len(rows), num_resamples), np.nan)
        return np.concatenate([points_R[:, None], draws_RB], axis=1)
    parts = [_rows(row) for row in rows]
    ratios_B = iter(
        resampled_scores(
            np.concatenate(parts),
            rng,
            weights_RI=np.concatenate([_weights(row) for row in rows]),
            clusters_I=clusters_I,
            num_resamples=num_resamples,
        )
    )
    draws = []
    for row, values_KI in zip(rows, parts, strict=True):
        its = [next(ratios_B) for _ in values_KI]
        draws.append(its[0] if row.formula is None else row.formula(*its))
    return np.concatenate([points_R[:, None], np.stack(draws)], axis=1)


def _rows(row: ItemFigures) -> Floats:
    """The figures above the line, (K, I)."""
    return np.atleast_2d(row.values)


def _weights(row: ItemFigures) -> Floats:
    """What is below the line of each of them, (K, I)."""
    values_KI = _rows(row)
    if row.weights is None:
        return np.ones_like(values_KI)
    return np.tile(row.weights, (len(values_KI), 1))
