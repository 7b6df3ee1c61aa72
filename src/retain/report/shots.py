"""What examples in the prompt change: gains over no example, adapted model against base.

All numbers of shots of a task are resampled together, on the same items, so that a difference
between them keeps its pairing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from retain.measure.fewshot import extra_gain, relative_gain
from retain.measure.forgetting import oriented
from retain.measure.statistics import MIN_CLUSTERS, generator, num_clusters, resampled_scores
from retain.report.measured import Measure, Measured, of_task
from retain.report.scorebook import MISSING, Floats, ScoreBook, interval, without_resamples
from retain.report.scores import Checkpoint, Items, TaskKey

GAIN = Measure("few_shot_gain", "0_shots", "points")
EXTRA_GAIN = Measure("few_shot_extra_gain", "base", "points")
RELATIVE_GAIN = Measure("few_shot_relative_gain", "0_shots", "percent")


class At(NamedTuple):
    """One checkpoint at one number of shots."""

    checkpoint: Checkpoint
    num_fewshot: int


Sweep = Mapping[At, Floats]
"""Sampled, oriented scores of one task."""


def sweeps(book: ScoreBook) -> dict[TaskKey, Sweep]:
    """The main metric of every task scored at 0 and at more shots, by its key at 0 shots."""
    found: dict[TaskKey, Sweep] = {}
    for key, facts in book.tasks.items():
        others = [
            one for one in book.tasks if one[:2] == key[:2] and one.num_fewshot > key.num_fewshot
        ]
        if facts.is_main and key.num_fewshot == 0 and others:
            found[key] = _sweep(book, [key, *sorted(others, key=lambda one: one.num_fewshot)])
    return found


def shot_measures(
    book: ScoreBook, arm: str, seed: int, all_sweeps: Mapping[TaskKey, Sweep]
) -> Iterator[Measured]:
    """Gains of one arm and seed, task by task and phase by phase; fractions are told in points."""
    for key, sweep in all_sweeps.items():
        facts = book.tasks[key]
        is_fraction = facts.unit == "fraction"
        scale, unit = (100.0, "points") if is_fraction else (1.0, facts.oriented_unit)
        base = Checkpoint(book.variant.name, arm, seed, 0)
        for phase in range(book.num_phases + 1):
            where = base._replace(phase_index=phase)
            for num in sorted({at.num_fewshot for at in sweep} - {0}):
                four = [At(c, k) for c in (where, base) for k in (num, 0)]
                now_k, now_0, base_k, base_0 = (sweep.get(at, MISSING) for at in four)
                at_k = key._replace(num_fewshot=num)
                gain = GAIN._replace(unit=unit)
                yield of_task(book, phase, at_k, gain, scale * (now_k - now_0))
                if is_fraction:
                    relative_N = relative_gain(
                        now_k, now_0, level=facts.level, interval_0=interval(now_0)
                    )
                    yield of_task(book, phase, at_k, RELATIVE_GAIN, relative_N)
                if phase:
                    extra_N = scale * extra_gain(now_k, now_0, base_k, base_0)
                    yield of_task(book, phase, at_k, EXTRA_GAIN._replace(unit=unit), extra_N)


def _sweep(book: ScoreBook, keys: Sequence[TaskKey]) -> dict[At, Floats]:
    sign = float(oriented(np.array(1.0), book.tasks[keys[0]].higher_is_better))
    items = {
        At(checkpoint, key.num_fewshot): one
        for key in keys
        for checkpoint, one in book.items_of(key).items()
    }
    if not items or not _are_same(list(items.values())):
        return {
            At(where, key.num_fewshot): without_resamples(float(book.score(*where[1:], key)[0]))
            for key in keys
            for where in _checkpoints(book)
        }
    first = next(iter(items.values()))
    rows = list(items.values())
    point_R = [float(one.values.sum() / _weights(one).sum()) for one in rows]
    draws_RB = resampled_scores(
        np.stack([one.values for one in rows]),
        generator("shots", *keys[0]),
        weights_RI=np.stack([_weights(one) for one in rows]),
        clusters_I=first.groups,
    )
    if num_clusters(first.groups) < MIN_CLUSTERS:
        draws_RB[:] = np.nan  # as ScoreBook does: no interval
    return {
        at: sign * np.concatenate([[point], draws_B])
        for at, point, draws_B in zip(items, point_R, draws_RB, strict=True)
    }


def _checkpoints(book: ScoreBook) -> Iterator[Checkpoint]:
    for arm in book.arms:
        for seed in book.seeds:
            for phase in range(book.num_phases + 1):
                yield Checkpoint(book.variant.name, arm.name, seed, phase)


def _are_same(rows: Sequence[Items]) -> bool:
    return all(np.array_equal(one.hashes, rows[0].hashes) for one in rows)


def _weights(items: Items) -> Floats:
    return np.ones_like(items.values) if items.weights is None else items.weights
