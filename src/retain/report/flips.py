"""Items that changed side between two checkpoints, under the draws of the task's own scores."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from retain.measure.forgetting import flips
from retain.measure.significance import mcnemar
from retain.measure.statistics import MIN_CLUSTERS, generator, num_clusters, resampled_scores
from retain.report.scorebook import Floats, ScoreBook
from retain.report.scores import Checkpoint, Items, TaskKey


class SampledFlips(NamedTuple):
    """Fractions of items as sampled figures, and the phase they are counted from."""

    right_to_wrong: Floats
    wrong_to_right: Floats
    since: int


class Turned(NamedTuple):
    """How many items two checkpoints answer differently.

    Attributes:
        right_to_wrong: Right at the first checkpoint alone.
        wrong_to_right: Right at the second alone.
        p: Exact McNemar test of as many in either direction, of this pair alone; NaN where items
            share a source, so that it does not hold.
    """

    right_to_wrong: int
    wrong_to_right: int
    p: float


def turned(book: ScoreBook, key: TaskKey, before: Checkpoint, after: Checkpoint) -> Turned | None:
    """What turned between two checkpoints; None where items are not each right or wrong."""
    pair = [book.items_at(where, key) for where in (before, after)]
    items = [one for one in pair if one is not None and is_right_or_wrong(one)]
    if len(items) < 2:
        return None
    before_I, after_I = (one.values for one in items)
    lost, gained = int((before_I > after_I).sum()), int((before_I < after_I).sum())
    stands_alone = book.tasks[key].num_sources == len(before_I)
    return Turned(lost, gained, mcnemar(lost, gained) if stands_alone else math.nan)


def task_flips(book: ScoreBook, key: TaskKey) -> dict[Checkpoint, SampledFlips]:
    """The flips of every checkpoint of a task, resampled all at once.

    Counted since row 0; since just learnt for a task that an earlier phase taught. Empty for a task
    whose items are not each right or wrong; a checkpoint without items on both sides is left out.
    """
    items = book.items_of(key)
    if not items or not all(is_right_or_wrong(one) for one in items.values()):
        return {}
    taught_in = book.taught_in(key) or 0
    sinces: dict[Checkpoint, int] = {}
    for where in items:
        since = taught_in if 0 < taught_in < where.phase_index else 0
        if where.phase_index and where._replace(phase_index=since) in items:
            sinces[where] = since
    return _resampled(key, items, sinces) if sinces else {}


def is_right_or_wrong(items: Items) -> bool:
    """Whether each item is either right or wrong."""
    if items.by_source or items.formula is not None:
        return False
    return items.weights is None and bool(np.isin(items.values, (0, 1)).all())


def _resampled(
    key: TaskKey, items: Mapping[Checkpoint, Items], sinces: Mapping[Checkpoint, int]
) -> dict[Checkpoint, SampledFlips]:
    rows: list[Floats] = []
    told: list[float] = []
    for where, since in sinces.items():
        before_I = items[where._replace(phase_index=since)].values
        after_I = items[where].values
        rows += [before_I * (1 - after_I), (1 - before_I) * after_I]
        told += flips(before_I, after_I)
    sources = next(iter(items.values())).groups
    draws_RB = resampled_scores(np.stack(rows), generator("items", *key), clusters_I=sources)
    if num_clusters(sources) < MIN_CLUSTERS:
        draws_RB[:] = np.nan  # as ScoreBook does: no interval
    sampled_RN = np.concatenate([np.array(told)[:, None], draws_RB], axis=1)
    return {
        where: SampledFlips(sampled_RN[2 * place], sampled_RN[2 * place + 1], since)
        for place, (where, since) in enumerate(sinces.items())
    }
