"""How sure a figure is: resampled items, tests against a level, spread over seeds.

Shapes: R = rows that are scored on the same items (checkpoints, arms, seeds); I = items;
C = clusters (source items); B = resamples; S = seeds. A row's score is always a ratio of sums,
``sum(values) / sum(weights)``: accuracy has weight 1 for each item, bits per byte has an item's
bits above and its bytes below.

Everything is resampled jointly: one draw picks the same items for every row, so any function of
the rows (a change, a ratio, a mean over phases) keeps its pairing.
"""

import math
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_RESAMPLES = 4000
"""Resamples behind a printed interval: its ends then move by under 5 % of its half-width."""

MIN_CLUSTERS = 8
"""Fewest source items behind a printed interval. What is resampled is too alike when there are few:
a 95 % percentile interval then covers about 89 % with 8 of them (normal figures), 81 % with 4, and
has no width at all with 1."""

FEW_CLUSTERS = 22
"""Below this many source items a 95 % percentile interval covers less than 93 % (normal figures):
it is too narrow by ``sqrt((n - 1) / n)`` and by taking 1.96 where Student's t would be taken."""

_CHUNK_CELLS = 4_000_000


class Interval(NamedTuple):
    """Both ends of an interval, in the unit of the figure; NaN where there is none."""

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def is_above_zero(self) -> bool:
        """Whether all of it lies above 0 (False when it is unknown)."""
        return self.known and self.low > 0

    @property
    def is_below_zero(self) -> bool:
        """Whether all of it lies below 0 (False when it is unknown)."""
        return self.known and self.high < 0


UNKNOWN = Interval(math.nan, math.nan)


def generator(*names: object) -> np.random.Generator:
    """A random generator of its own for whoever bears these names; the same names, the same draws.

    >>> int(generator("bootstrap", "piqa").integers(1000)) == int(
    ...     generator("bootstrap", "piqa").integers(1000)
    ... )
    True
    """
    digest = sha256("\0".join(str(name) for name in names).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def ratio_of_sums(values: Floats, weights: Floats | None = None) -> float:
    """The score of items: ``sum(values) / sum(weights)``; the plain mean without weights.

    Raises:
        ValueError: If there is no item, or the weights do not add up to more than 0.

    >>> ratio_of_sums(np.array([16.0, 4.0]), np.array([8.0, 2.0]))
    2.0
    """
    if values.size == 0:
        raise ValueError("a score needs at least one item, got none")
    total = float(values.size) if weights is None else float(weights.sum())
    if not total > 0:
        raise ValueError(f"the weights of the items must add up to more than 0, got {total}")
    return float(values.sum()) / total


def resampled_scores(
    values_RI: Floats,
    rng: np.random.Generator,
    *,
    weights_RI: Floats | None = None,
    clusters_I: NDArray[np.str_] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> Floats:
    """The score of every row under resampled items, all rows with the same items in each draw.

    Draws as many clusters as there are, with replacement, and recomputes sum / sum.

    Args:
        values_RI: What is above the line of the score, for each row and item.
        rng: Where the draws come from; see `generator`.
        weights_RI: What is below the line; None means 1 for each item.
        clusters_I: Items with the same name come from one source (a passage, a template, a text and
            its translation) and are drawn together; None means that every item stands alone.
        num_resamples: How many draws.

    Returns:
        Shape (R, B), in the unit of the scores. NaN in a draw whose weights add up to 0.

    Raises:
        ValueError: If there is no item, or shapes do not fit.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 13;
    whole clusters as in Davison and Hinkley, "Bootstrap Methods and their Application", 1997,
    section 3.8.

    >>> resampled_scores(np.array([[1.0, 1.0], [0.0, 0.0]]), generator("x"), num_resamples=3)
    array([[1., 1., 1.],
           [0., 0., 0.]])
    """
    num_rows, num_items = values_RI.shape
    if num_items == 0:
        raise ValueError("nothing to resample: there is no item")
    weights = np.ones_like(values_RI) if weights_RI is None else weights_RI
    if weights.shape != values_RI.shape:
        raise ValueError(f"values {values_RI.shape} and weights {weights.shape} do not fit")
    sums_CR, totals_CR = _cluster_sums(values_RI, weights, clusters_I)
    num_clusters = len(sums_CR)
    draws_BR = np.empty((num_resamples, num_rows))
    chunk = max(1, _CHUNK_CELLS // num_clusters)
    for start in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - start)
        picked = rng.integers(num_clusters, size=(size, num_clusters))
        picked += np.arange(size)[:, None] * num_clusters
        counts = np.bincount(picked.ravel(), minlength=size * num_clusters)
        counts_BC = counts.reshape(size, num_clusters).astype(np.float64)
        below = counts_BC @ totals_CR
        above = counts_BC @ sums_CR
        draws_BR[start : start + size] = above / np.where(below > 0, below, np.nan)
    return np.ascontiguousarray(draws_BR.T)


def num_clusters(clusters_I: NDArray[np.str_]) -> int:
    """How many source items these items come from.

    >>> num_clusters(np.array(["passage 1", "passage 1", "passage 2"]))
    2
    """
    return len(np.unique(clusters_I))


def percentile_interval(draws_B: Floats, level: float = 0.95) -> Interval:
    """The middle ``level`` of the draws.

    Args:
        draws_B: One number per resample.
        level: Share of the draws inside, 0-1.

    Returns:
        Percentile interval. A draw that is not finite (its denominator vanished) counts as lower
        than all at the low end and higher than all at the high end, so that it only widens the
        interval; unknown when such draws are as many as a tail holds.

    Source: Efron and Tibshirani 1993, chapter 13, without bias correction. Departure: what is said
    of draws that are not finite.

    >>> percentile_interval(np.arange(101.0), level=0.5)
    Interval(low=25.0, high=75.0)
    """
    tail = (1 - level) / 2
    finite_B = np.isfinite(draws_B)
    if draws_B.size == 0 or 1 - finite_B.mean() >= tail:
        return UNKNOWN
    if finite_B.all():
        low, high = np.quantile(draws_B, [tail, 1 - tail])
    else:
        low = np.quantile(np.where(finite_B, draws_B, -np.inf), tail, method="higher")
        high = np.quantile(np.where(finite_B, draws_B, np.inf), 1 - tail, method="lower")
    return Interval(float(low), float(high))


def paired_interval(
    after_I: Floats,
    before_I: Floats,
    rng: np.random.Generator,
    *,
    weights_I: Floats | None = None,
    clusters_I: NDArray[np.str_] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """The 95 % interval of a change of score between two checkpoints on the same items.

    Args:
        after_I: Values of the later checkpoint.
        before_I: Values of the earlier one, same items in the same order.
        rng: Where the draws come from.
        weights_I: What is below the line of the score, alike for both; None means 1.
        clusters_I: Source of each item; see `resampled_scores`.
        num_resamples: How many draws.

    Returns:
        Interval of score(after) - score(before), in the unit of the score.

    >>> paired_interval(np.array([1.0, 1, 1]), np.array([0.0, 0, 0]), generator("x"))
    Interval(low=1.0, high=1.0)
    """
    weights = None if weights_I is None else np.stack([weights_I, weights_I])
    draws_RB = resampled_scores(
        np.stack([after_I, before_I]),
        rng,
        weights_RI=weights,
        clusters_I=clusters_I,
        num_resamples=num_resamples,
    )
    return percentile_interval(draws_RB[0] - draws_RB[1])


def over_seeds(draws_SB: Floats, point_S: Floats, rng: np.random.Generator) -> Floats:
    """Draws of a mean over seeds that vary with the items and with the seeds.

    ``mean over seeds of draw b + s / sqrt(S) * t_b``: s is the standard deviation of the seeds'
    figures, t_b a draw from Student's t. Its degrees of freedom are those of the sum (Welch and
    Satterthwaite: S - 1 where seeds alone matter, more where items do), at most 2 (S - 1), since
    which of the two matters is itself known roughly. With one seed the draws pass through: the
    interval then speaks of items alone.

    Args:
        draws_SB: The figure of each seed under each resample of the items.
        point_S: The figure of each seed on the items as they are.
        rng: Where t comes from.

    Returns:
        Shape (B,), in the unit of the figure. Wide for few seeds, as it must be.

    Source: Owen, "The pigeonhole bootstrap", 2007, https://arxiv.org/abs/0712.1111, which picks
    seeds with replacement; Satterthwaite, "An Approximate Distribution of Estimates of Variance
    Components", 1946. Departure: t in place of picking, whose 95 % intervals cover about 85 % with
    three seeds that differ more than items do. In simulations these cover 93 to 97 % from three
    seeds on, and 88 % with two that differ far more than items do.

    >>> over_seeds(np.array([[1.0, 2.0]]), np.array([1.5]), generator("x"))
    array([1., 2.])
    """
    num_seeds, num_resamples = draws_SB.shape
    mean_B: Floats = draws_SB.mean(axis=0)
    of_seeds = 0.0 if num_seeds == 1 else seed_spread(point_S) ** 2 / num_seeds
    if not of_seeds > 0:
        return mean_B + of_seeds  # NaN where a seed's figure is
    finite_B = mean_B[np.isfinite(mean_B)]
    of_items = float(finite_B.var()) if finite_B.size else 0.0
    freedom = (num_seeds - 1) * min(2.0, (1 + of_items / of_seeds) ** 2)
    t_B: Floats = rng.standard_t(freedom, size=num_resamples)
    return mean_B + math.sqrt(of_seeds) * t_B


def seed_spread(value_S: Floats) -> float:
    """Sample standard deviation over seeds, in the unit of the figure; NaN with fewer than two.

    >>> seed_spread(np.array([0.5, 0.75])).__round__(4)
    0.1768
    """
    return float(np.std(value_S, ddof=1)) if value_S.size > 1 else math.nan


def binomial_tail(num_right: int, num_items: int, level: float) -> float:
    """Probability that guessing right with probability ``level`` gives this many or more.

    ``sum over x >= num_right of C(n, x) level^x (1 - level)^(n - x)``, exact.

    Args:
        num_right: Items answered right.
        num_items: Items in all.
        level: Probability of a right answer, 0-1.

    Raises:
        ValueError: If a number is out of its range.

    Source: the one-sided exact binomial test; Clopper and Pearson, Biometrika 26, 1934.

    >>> round(binomial_tail(9, 10, 0.5), 6)
    0.010742
    """
    if not (0 <= num_right <= num_items and 0 <= level <= 1):
        raise ValueError(f"no such binomial: {num_right} of {num_items} at {level}")
    if num_right == 0 or level == 1:
        return 1.0
    if level == 0:
        return 0.0
    x = np.arange(num_right, num_items + 1)
    factorial = np.array([math.lgamma(n + 1) for n in range(num_items + 1)])
    log_terms = factorial[num_items] - factorial[x] - factorial[num_items - x]
    log_terms = log_terms + x * math.log(level) + (num_items - x) * math.log1p(-level)
    return float(min(1.0, np.exp(log_terms).sum()))


def is_above(
    values_I: Floats,
    level: float,
    rng: np.random.Generator,
    *,
    clusters_I: NDArray[np.str_] | None = None,
) -> bool:
    """Whether a score is above a level (chance, the majority class) at 95 %.

    The lower end of the two-sided 95 % interval must lie above the level: for right-or-wrong items
    that stand alone the exact binomial test at 2.5 %, else the clustered bootstrap, which says
    nothing (False) of fewer than `MIN_CLUSTERS` sources.

    Args:
        values_I: One value per item; the score is their mean.
        level: What to be above, in the unit of the score.
        rng: Where draws come from, where they are needed.
        clusters_I: Source of each item; see `resampled_scores`.

    Raises:
        ValueError: If there is no item.

    >>> is_above(np.array([1.0] * 9 + [0.0]), 0.5, generator("x"))
    True
    >>> is_above(np.array([1.0] * 6 + [0.0] * 4), 0.5, generator("x"))
    False
    """
    num_sources = len(values_I) if clusters_I is None else num_clusters(clusters_I)
    alone = num_sources == len(values_I)
    if alone and values_I.size and np.isin(values_I, (0, 1)).all():
        return binomial_tail(int(values_I.sum()), len(values_I), level) < 0.025
    if 0 < num_sources < MIN_CLUSTERS:
        return False
    draws_RB = resampled_scores(values_I[None], rng, clusters_I=clusters_I)
    return percentile_interval(draws_RB[0] - level).is_above_zero


def smallest_visible_change(draws_B: Floats) -> float:
    """The true change that these items would show beyond its interval four times out of five.

    ``(1.960 + 0.842) * standard error``: two-sided 5 %, power 80 %.

    Args:
        draws_B: Resampled differences between two checkpoints.

    Source: the usual calculation of power for a normal estimate; Card et al., "With Little Power
    Comes Great Responsibility", 2020, https://arxiv.org/abs/2010.06595, ask for it of every such
    comparison.

    Returns:
        In the unit of the score, above 0. NaN if a draw is, or if all are alike: checkpoints that
        agree on every item say nothing of how much they could differ unseen.

    >>> round(smallest_visible_change(np.array([-1.0, 1.0])), 3)
    2.802
    """
    spread = float(np.std(draws_B))
    return (1.959964 + 0.841621) * spread if spread else math.nan


def planned_visible_change(num_items: int, disagreement: float = 0.2) -> float:
    """As `smallest_visible_change`, before anything is measured, for right-or-wrong items.

    ``(1.960 + 0.842) * sqrt(disagreement / num_items)``.

    Args:
        num_items: Items that both checkpoints answer.
        disagreement: Share of items on which the two differ, 0-1; 0.2 is usual after a short
            fine-tuning of a small model.

    Raises:
        ValueError: If there is no item.

    >>> round(planned_visible_change(200), 3)
    0.089
    """
    if num_items < 1:
        raise ValueError(f"need at least one item, got {num_items}")
    return (1.959964 + 0.841621) * math.sqrt(disagreement / num_items)


def _cluster_sums(
    values_RI: Floats, weights_RI: Floats, clusters_I: NDArray[np.str_] | None
) -> tuple[Floats, Floats]:
    """Values and weights added up within each cluster, both of shape (C, R)."""
    if clusters_I is None:
        return values_RI.T, weights_RI.T
    if clusters_I.shape != values_RI.shape[1:]:
        raise ValueError(f"{values_RI.shape[1]} items, {clusters_I.shape[0]} names of clusters")
    names, index_I = np.unique(clusters_I, return_inverse=True)
    sums_CR = np.zeros((len(names), len(values_RI)))
    totals_CR = np.zeros_like(sums_CR)
    np.add.at(sums_CR, index_I, values_RI.T)
    np.add.at(totals_CR, index_I, weights_RI.T)
    return sums_CR, totals_CR
