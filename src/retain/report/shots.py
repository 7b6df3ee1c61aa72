"""What examples in the prompt change: gains over no example, adapted model against base.

All numbers of shots of a task, and all draws of examples, are resampled together, on the same
items, so that a difference between them keeps its pairing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from retain.evaluate.shots import FIRST, Shots
from retain.measure.fewshot import extra_gain, relative_gain
from retain.measure.forgetting import oriented
from retain.measure.item_scores import sampled_scores
from retain.measure.statistics import generator, seed_spread
from retain.report.measured import Measure, Measured, of_task
from retain.report.scorebook import (
    MISSING,
    Floats,
    ScoreBook,
    figure,
    interval,
    mean_over_seeds,
    without_resamples,
)
from retain.report.scores import Checkpoint, Items, TaskKey
from retain.report.task_facts import TaskFacts

GAIN = Measure("few_shot_gain", "0_shots", "points")
EXTRA_GAIN = Measure("few_shot_extra_gain", "base", "points")
RELATIVE_GAIN = Measure("few_shot_relative_gain", "0_shots", "percent")
SHUFFLED_GAIN = Measure("few_shot_gain_shuffled", "0_shots", "points")
SHUFFLED_EXTRA_GAIN = Measure("few_shot_extra_gain_shuffled", "base", "points")
OF_ANSWERS = Measure("few_shot_extra_gain_of_answers", "shuffled", "points")
DRAW_SPREAD = Measure("few_shot_extra_gain_draw_spread", "base", "points")


class At(NamedTuple):
    """One checkpoint at one number of shots, taken in one way."""

    checkpoint: Checkpoint
    num_fewshot: int
    shots: Shots = FIRST


@dataclass(frozen=True)
class Sweep:
    """Sampled, oriented scores of one task.

    Attributes:
        scores: By checkpoint, number of shots and the way they were taken.
        draws: The draws of examples.
        has_control: Whether they were also shown with answers permuted.
    """

    scores: Mapping[At, Floats]
    draws: tuple[int, ...]
    has_control: bool

    @property
    def numbers(self) -> list[int]:
        """The numbers of shots, 0 included."""
        return sorted({at.num_fewshot for at in self.scores})

    def by_draw(self, where: Checkpoint, num: int, *, shuffled: bool = False) -> list[Floats]:
        """The score with so many examples, one for each draw; without any it is always the same."""
        every = [Shots(draw, shuffled) if num else FIRST for draw in self.draws]
        return [self.scores.get(At(where, num, shots), MISSING) for shots in every]

    def gains(self, where: Checkpoint, num: int, *, shuffled: bool = False) -> list[Floats]:
        """What examples add to a checkpoint's score, by draw."""
        without = self.by_draw(where, 0)
        found = self.by_draw(where, num, shuffled=shuffled)
        return [one - zero for one, zero in zip(found, without, strict=True)]

    def extra_gains(self, where: Checkpoint, num: int, *, shuffled: bool = False) -> list[Floats]:
        """What they add beyond what they add to the base model's, by draw."""
        base = where._replace(phase_index=0)
        four = (
            self.by_draw(where, num, shuffled=shuffled),
            self.by_draw(where, 0),
            self.by_draw(base, num, shuffled=shuffled),
            self.by_draw(base, 0),
        )
        return [extra_gain(*scores) for scores in zip(*four, strict=True)]


def over_draws(sampled: list[Floats], *names: object) -> Floats:
    """The mean over draws of examples, which vary as seeds do."""
    return mean_over_seeds(sampled, "draws", *names)


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


def unit_of_gain(facts: TaskFacts) -> tuple[float, str]:
    """What gains are multiplied by, and their unit: fractions are told in points."""
    return (100.0, "points") if facts.unit == "fraction" else (1.0, facts.oriented_unit)


def relative_gains(sweep: Sweep, where: Checkpoint, num: int, level: float | None) -> list[Floats]:
    """What examples add in percent of the score without any, by draw; see `relative_gain`."""
    return [
        relative_gain(now_k, now_0, level=level, interval_0=interval(now_0))
        for now_k, now_0 in zip(sweep.by_draw(where, num), sweep.by_draw(where, 0), strict=True)
    ]


def shot_measures(
    book: ScoreBook, arm: str, seed: int, all_sweeps: Mapping[TaskKey, Sweep]
) -> Iterator[Measured]:
    """Gains of one arm and seed, task by task and phase by phase; fractions are told in points."""
    for key, sweep in all_sweeps.items():
        for phase in range(book.num_phases + 1):
            where = Checkpoint(book.variant.name, arm, seed, phase)
            for num in sweep.numbers[1:]:
                at_k = key._replace(num_fewshot=num)
                for measure, sampled in _measures(book, key, sweep, where, num):
                    yield of_task(book, phase, at_k, measure, sampled)


def _measures(
    book: ScoreBook, key: TaskKey, sweep: Sweep, where: Checkpoint, num: int
) -> Iterator[tuple[Measure, Floats]]:
    """The gains of one checkpoint with one number of examples."""
    facts = book.tasks[key]
    scale, unit = unit_of_gain(facts)

    def told(measure: Measure, by_draw: list[Floats]) -> tuple[Measure, Floats]:
        return measure._replace(unit=unit), scale * over_draws(by_draw, measure.name, *key)

    yield told(GAIN, sweep.gains(where, num))
    if facts.unit == "fraction":
        relative = relative_gains(sweep, where, num, facts.level)
        yield RELATIVE_GAIN, over_draws(relative, RELATIVE_GAIN.name, *key)
    if sweep.has_control:
        yield told(SHUFFLED_GAIN, sweep.gains(where, num, shuffled=True))
    if not where.phase_index:
        return
    extra = sweep.extra_gains(where, num)
    yield told(EXTRA_GAIN, extra)
    if sweep.has_control:
        control = sweep.extra_gains(where, num, shuffled=True)
        yield told(SHUFFLED_EXTRA_GAIN, control)
        apart = [one - other for one, other in zip(extra, control, strict=True)]
        yield told(OF_ANSWERS, apart)
    if len(sweep.draws) > 1:
        spread = seed_spread(np.array([figure(one) for one in extra]))
        yield DRAW_SPREAD._replace(unit=unit), without_resamples(scale * spread)


def _sweep(book: ScoreBook, keys: Sequence[TaskKey]) -> Sweep:
    items = {
        At(checkpoint, key.num_fewshot, shots): one
        for shots in (FIRST, *book.further_shots)
        for key in keys
        for checkpoint, one in book.items_of(key, shots).items()
    }
    scores = _sampled(book, keys, items)
    ways = {at.shots for at in scores}
    draws = tuple(sorted({shots.draw for shots in ways}))
    return Sweep(scores, draws, any(shots.shuffled for shots in ways))


def _sampled(
    book: ScoreBook, keys: Sequence[TaskKey], items: Mapping[At, Items]
) -> dict[At, Floats]:
    sign = float(oriented(np.array(1.0), book.tasks[keys[0]].higher_is_better))
    if not items or not _are_same(list(items.values())):
        return {
            At(where, key.num_fewshot): without_resamples(float(book.score(*where[1:], key)[0]))
            for key in keys
            for where in _checkpoints(book)
        }
    rows = list(items.values())
    sampled_RN = sampled_scores(
        [one.figures for one in rows], generator("shots", *keys[0]), clusters_I=rows[0].groups
    )
    return {at: sign * sampled_N for at, sampled_N in zip(items, sampled_RN, strict=True)}


def _checkpoints(book: ScoreBook) -> Iterator[Checkpoint]:
    for arm in book.arms:
        for seed in book.seeds:
            for phase in range(book.num_phases + 1):
                yield Checkpoint(book.variant.name, arm.name, seed, phase)


def _are_same(rows: Sequence[Items]) -> bool:
    return all(np.array_equal(one.hashes, rows[0].hashes) for one in rows)
