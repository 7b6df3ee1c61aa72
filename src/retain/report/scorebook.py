"""Every score of one variant with its resamples, paired item by item.

Shapes: N = 1 + resamples. A *sampled figure* is an array whose entry 0 is the figure itself and
whose other entries are the same figure under resampled items; whatever formula is applied to the
whole array is applied to both, so intervals never need a formula of their own.

Scores in the book are oriented: those where lower is better are negated, and so is their unit's
name (``-bits_per_byte``).
"""

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retain.errors import DataError
from retain.evaluate.shots import FIRST, Shots
from retain.measure.forgetting import oriented
from retain.measure.item_scores import sampled_scores
from retain.measure.statistics import (
    NUM_RESAMPLES,
    Interval,
    generator,
    is_above,
    num_clusters,
    over_seeds,
    percentile_interval,
)
from retain.report.given import Given, Sampled, sampled_given
from retain.report.results import Arm, Results
from retain.report.scores import (
    BASE_PHASE,
    Checkpoint,
    ItemKey,
    Items,
    ScoreRow,
    TaskKey,
    phase_task,
)
from retain.report.task_facts import TaskFacts

Floats = NDArray[np.float64]

CONTROL = "none"
"""The arm of plain sequential fine-tuning at the recipe's own rate."""

PHASES = "phases"
"""The group made of the phases' own tasks."""

MISSING: Floats = np.full(1 + NUM_RESAMPLES, math.nan)
"""The sampled figure of a score that does not exist."""


def figure(sampled_N: Floats) -> float:
    """The figure itself."""
    return float(sampled_N[0])


def interval(sampled_N: Floats) -> Interval:
    """Its 95 % interval over resampled items (and seeds)."""
    return percentile_interval(sampled_N[1:])


def without_resamples(value: float) -> Floats:
    """A sampled figure that has no items behind it, hence no interval."""
    sampled_N = MISSING.copy()
    sampled_N[0] = value
    return sampled_N


def mean_over_seeds(sampled: list[Floats], *names: object) -> Floats:
    """The mean over seeds, in draws that vary with items and seeds; see `over_seeds`.

    Args:
        sampled: One sampled figure per seed.
        names: What the figure is called; decides how seeds vary in each draw.
    """
    sampled_SN = np.stack(sampled)
    mean_N = np.empty(sampled_SN.shape[1])
    mean_N[0] = sampled_SN[:, 0].mean()
    rng = generator("seeds", *names)
    mean_N[1:] = over_seeds(sampled_SN[:, 1:], sampled_SN[:, 0], rng)
    return mean_N


class ScoreBook:
    """The scores of one variant, of the one role that ``results`` was cut down to.

    Attributes:
        arms: Those that are run in the variant.
        placed: The same with their places among all, which give an arm one colour everywhere.
    """

    def __init__(self, results: Results, variant: str) -> None:
        (self.variant,) = [v for v in results.variants if v.name == variant]
        run = self.variant.arms or [arm.name for arm in results.arms]
        self.placed = tuple(one for one in enumerate(results.arms) if one[1].name in run)
        self.arms = tuple(arm for _, arm in self.placed)
        self.seeds = results.seeds
        self.groups = results.groups
        self._rows = [row for row in results.scores if row.variant == variant]
        self._items = {k: v for k, v in results.items.items() if k.checkpoint.variant == variant}
        self._draws = {
            shots: {k: v for k, v in scored.items() if k.checkpoint.variant == variant}
            for shots, scored in results.draws.items()
        }
        self._given = {k: v for k, v in results.given.items() if k.checkpoint.variant == variant}
        self._scores: dict[tuple[Checkpoint, TaskKey], Floats] = {}
        self.tasks: dict[TaskKey, TaskFacts] = {}
        for key in self._task_order():
            self._add_task(key)

    @property
    def num_phases(self) -> int:
        """How many phases are taught."""
        return len(self.variant.phases)

    @cached_property
    def control(self) -> str | None:
        """The arm that others are compared with: `none`, else the first plain one, if any.

        In a sweep an arm may have a control of its own; see `control_of`.
        """
        plain = [arm.name for arm in self.arms if arm.is_plain and not arm.part]
        return CONTROL if CONTROL in plain else next(iter(plain), None)

    def control_of(self, arm: str) -> str | None:
        """What an arm is compared with: `none` at the same swept values, else `control`.

        Of several that fit (`none` need not feel every swept value) the one that shares most. A
        value swept for each arm by itself (`arms.none.train.…`, `arms.replay.train.…`) is the same
        where what stands behind the arm's name is.
        """
        return self._controls.get(arm, self.control)

    @cached_property
    def _controls(self) -> dict[str, str | None]:
        return {arm.name: self._control_of(arm) for arm in self.arms}

    def _control_of(self, arm: Arm) -> str | None:
        fits = [
            one
            for one in self.arms
            if one.is_plain
            and not one.part
            and (one.base_arm or one.name) == CONTROL
            and _own_values(one) <= _own_values(arm)
        ]
        best = max(fits, key=lambda one: len(one.swept), default=None)
        return self.control if best is None else best.name

    @cached_property
    def told_control(self) -> str:
        """The control for people: its name, where all arms have the same one."""
        names = {self.control_of(arm.name) for arm in self.arms if not arm.is_reference}
        if len(names) > 1:
            return f"{CONTROL} at the same swept values"
        return next(iter(names), None) or ""

    @cached_property
    def shots(self) -> tuple[int, ...]:
        """Every number of shots that was scored, rising."""
        return tuple(sorted({key.num_fewshot for key in self.tasks}))

    def score(self, arm: str, seed: int, phase_index: int, key: TaskKey) -> Floats:
        """A sampled, oriented score; all NaN where there is none."""
        checkpoint = Checkpoint(self.variant.name, arm, seed, phase_index)
        return self._scores.get((checkpoint, key), MISSING)

    def mean(self, arm: str, phase_index: int, key: TaskKey) -> Floats:
        """A sampled, oriented score, mean over seeds; all NaN where a seed has none."""
        scores = [self.score(arm, seed, phase_index, key) for seed in self.seeds]
        return mean_over_seeds(scores, *key)

    def matrix(self, arm: str, seed: int, keys: list[TaskKey], num_rows: int) -> Floats:
        """The sampled score matrix of rows 1..num_rows and these tasks, shape (N, P, T)."""
        rows = [
            np.stack([self.score(arm, seed, p, key) for key in keys], axis=-1)
            for p in range(1, num_rows + 1)
        ]
        return np.stack(rows, axis=1)

    def base(self, arm: str, seed: int, keys: list[TaskKey]) -> Floats:
        """The sampled row 0 of these tasks, shape (N, T)."""
        return np.stack([self.score(arm, seed, 0, key) for key in keys], axis=-1)

    def phase_name(self, phase_index: int) -> str:
        """Name of a phase; "base" for row 0."""
        return self.variant.phases[phase_index - 1] if phase_index else BASE_PHASE

    def taught_in(self, key: TaskKey) -> int | None:
        """Index of the phase that teaches this task; None for all other tasks."""
        for place, name in enumerate(self.variant.phases, start=1):
            if key.task == phase_task(name):
                return place
        return None

    def items_at(self, checkpoint: Checkpoint, key: TaskKey) -> Items | None:
        """The items of a task at a checkpoint; None where its score came without any."""
        return self._items.get(ItemKey(checkpoint, key))

    @property
    def further_shots(self) -> tuple[Shots, ...]:
        """The ways in which examples were taken beside the first draw."""
        return tuple(sorted(self._draws))

    def items_of(self, key: TaskKey, shots: Shots = FIRST) -> dict[Checkpoint, Items]:
        """The items of a task at every checkpoint that has any, with these examples."""
        scored = self._items if shots == FIRST else self._draws.get(shots, {})
        return {where.checkpoint: items for where, items in scored.items() if where.task == key}

    def given_of(self, key: TaskKey) -> dict[Checkpoint, Given]:
        """Which answers every checkpoint gave to a task with choices; {} for any other task."""
        return {where.checkpoint: one for where, one in self._given.items() if where.task == key}

    @cached_property
    def answers(self) -> dict[TaskKey, Sampled]:
        """What the answers of every checkpoint to each task with choices come to, resampled."""
        found = {}
        for key in self.tasks:
            items = self.items_of(key)
            known = {
                where: one
                for where, one in self.given_of(key).items()
                if where in items and len(items[where].hashes) == len(one.right)
            }
            if known:
                found[key] = sampled_given(key, known, next(iter(items.values())).groups)
        return found

    def main_key(self, task: str, num_fewshot: int | None = None) -> TaskKey | None:
        """The task's main metric at this many shots, if it was scored.

        None means the fewest shots this task was scored at, which need not be another task's: texts
        are scored without examples whatever the recipe asks of the others.
        """
        found = [
            key
            for key, facts in self.tasks.items()
            if key.task == task and facts.is_main and num_fewshot in (None, key.num_fewshot)
        ]
        return min(found, key=lambda key: key.num_fewshot, default=None)

    def is_shown(self, key: TaskKey) -> bool:
        """Whether it is its task's main metric at that task's fewest shots."""
        return key == self.main_key(key.task)

    def phase_keys(self, num_fewshot: int | None = None) -> list[TaskKey]:
        """The phases' own tasks in the order taught, as `main_key`; unscored ones are left out."""
        found = [self.main_key(phase_task(name), num_fewshot) for name in self.variant.phases]
        return [key for key in found if key is not None]

    def group_keys(self, num_fewshot: int | None = None) -> dict[str, list[TaskKey]]:
        """Group to keys as `main_key`; tasks in no group are "other" when there are no groups."""
        keys = {
            name: [key for task in tasks if (key := self.main_key(task, num_fewshot))]
            for name, tasks in self._groups().items()
        }
        return {name: found for name, found in keys.items() if found}

    def group_of(self, key: TaskKey) -> str:
        """The group that a task belongs to; "phases" for what is taught, empty for none."""
        if self.taught_in(key):
            return PHASES
        for name, tasks in self._groups().items():
            if key.task in tasks:
                return name
        return ""

    def _groups(self) -> dict[str, tuple[str, ...]]:
        if self.groups:
            return dict(self.groups)
        others = (key.task for key in self.tasks if not self.taught_in(key))
        return {"other": tuple(dict.fromkeys(others))}

    def _task_order(self) -> list[TaskKey]:
        """Phases in the order taught, then groups as in the recipe, then the rest by name."""
        names = [phase_task(name) for name in self.variant.phases]
        names += [task for tasks in self.groups.values() for task in tasks]
        rank = {name: place for place, name in reversed(list(enumerate(names)))}
        main = {row.key: row.is_main for row in self._rows}
        return sorted(
            main,
            key=lambda k: (rank.get(k.task, len(rank) + len(names)), k.task, not main[k], k[1:]),
        )

    def _add_task(self, key: TaskKey) -> None:
        rows = [row for row in self._rows if row.key == key]
        with_items = [row for row in rows if ItemKey(row.checkpoint, key) in self._items]
        for row in rows:
            value = oriented(np.array(row.value), row.higher_is_better)
            self._scores[row.checkpoint, key] = without_resamples(float(value))
        num_sources = self._resample(key, with_items) if with_items else 0
        first = min(rows, key=lambda row: row.phase_index)
        self.tasks[key] = TaskFacts(
            key=key,
            unit=first.unit,
            higher_is_better=first.higher_is_better,
            is_main=first.is_main,
            chance=first.chance,
            majority=first.majority,
            num_items=first.num_items,
            has_headroom=self._has_headroom(first, key),
            num_sources=num_sources,
        )

    def _resample(self, key: TaskKey, rows: list[ScoreRow]) -> int:
        """Resample the items of one task once, for all its checkpoints together.

        Returns:
            The number of source items; with fewer than `MIN_CLUSTERS` nothing is resampled.
        """
        all_items = [self._items[ItemKey(row.checkpoint, key)] for row in rows]
        first = all_items[0]
        for row, items in zip(rows, all_items, strict=True):
            _check_same_items(row, items, rows[0], first)
            _check_adds_up(row, items)
        num_sources = num_clusters(first.groups)
        sampled_RN = sampled_scores(
            [items.figures for items in all_items],
            generator("items", *key),
            clusters_I=first.groups,
        )
        for row, sampled_N in zip(rows, sampled_RN, strict=True):
            self._scores[row.checkpoint, key][1:] = oriented(sampled_N[1:], row.higher_is_better)
        return num_sources

    def _has_headroom(self, row: ScoreRow, key: TaskKey) -> bool:
        level = max((x for x in (row.chance, row.majority) if x is not None), default=None)
        if level is None or row.phase_index != 0:
            return True
        items = self._items.get(ItemKey(row.checkpoint, key))
        if items is None:
            return row.stderr is not None and row.value - 1.96 * row.stderr > level
        return is_above(items.values, level, generator("headroom", *key), clusters_I=items.groups)


def _own_values(arm: Arm) -> set[tuple[str, str]]:
    """An arm's swept names and values, without the arm's own name in front."""
    own = f"arms.{arm.base_arm or arm.name}."
    return {(name.removeprefix(own), repr(value)) for name, value in arm.swept}


def _check_same_items(row: ScoreRow, items: Items, first_row: ScoreRow, first: Items) -> None:
    if not np.array_equal(items.hashes, first.hashes):
        raise DataError(
            f"{row.task}: {len(items.hashes)} items at {row.checkpoint} are not the "
            f"{len(first.hashes)} items at {first_row.checkpoint}; checkpoints are compared on "
            "the same items. Evaluate both again with one `limit`."
        )


def _check_adds_up(row: ScoreRow, items: Items) -> None:
    value = items.figures.score
    if not math.isclose(value, row.value, rel_tol=1e-5, abs_tol=1e-6):
        raise DataError(
            f"{row.task}, {row.metric}, at {row.checkpoint}: the score says {row.value:.6g}, its "
            f"{len(items.hashes)} {row.role} items say {value:.6g}. A metric that is no function "
            "of sums over items must come without items."
        )
