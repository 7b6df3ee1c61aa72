"""Two runs side by side: the same arm after the last phase of each, on the items both scored.

Only what can be paired is compared; everything else is told, with its reason.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np

from retain.errors import DataError
from retain.measure.item_scores import sampled_scores
from retain.measure.significance import draws_p_value, holm
from retain.measure.statistics import UNKNOWN, Interval, generator
from retain.report.results import Results
from retain.report.scorebook import Floats, figure, interval, mean_over_seeds
from retain.report.scores import BASE_PHASE, Checkpoint, ItemKey, Items, ScoreRow, TaskKey
from retain.report.tables import as_csv

WARNED = ("precision", "device", "torch", "transformers", "sequences")
"""Of what steps ran on: what changes figures without being anybody's wish."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the runs.

    Attributes:
        name: As the user would type it.
        results: Of both roles; only `report` items are compared.
        models: Variant to what identifies its base model (a sha256).
    """

    name: str
    results: Results
    models: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One arm on one task in both runs; the arm "base" is row 0.

    Attributes:
        value: In the first run, on the items of both; in the unit of the metric.
        other: In the second.
        difference: value - other, mean over the seeds of both.
        p: Two-sided, for this comparison alone; NaN without an interval.
        p_holm: By Holm over the arms of the task.
        num_items: Scored in both.
    """

    variant: str
    arm: str
    task: str
    metric: str
    num_fewshot: int
    value: float
    other: float
    difference: float
    ci_low: float
    ci_high: float
    p: float
    p_holm: float
    num_items: int
    num_seeds: int
    higher_is_better: bool
    unit: str

    @property
    def interval(self) -> Interval:
        """Of the difference; NaN where there is none."""
        return Interval(self.ci_low, self.ci_high)


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Two runs compared.

    Attributes:
        rows: Task by task, row 0 first.
        refused: What could not be compared, and why.
        warnings: What makes the runs unlike beside what was meant to differ.
    """

    rows: tuple[RunRow, ...]
    refused: tuple[str, ...]
    warnings: tuple[str, ...]


COLUMNS = tuple(column.name for column in fields(RunRow))


def compare_runs(first: Side, second: Side) -> RunComparison:
    """Every arm that both runs have, on every task that both scored.

    Raises:
        DataError: If nothing can be compared: another base model, or no arm or seed in common.
    """
    variants = _shared_variants(first, second)
    seeds = [seed for seed in first.results.seeds if seed in second.results.seeds]
    if not seeds:
        raise DataError(
            f"{first.name} has the seeds {_listed(first.results.seeds)}, {second.name} has "
            f"{_listed(second.results.seeds)}: none in common, so their runs do not pair"
        )
    arms = [arm.name for arm in first.results.arms if arm.name in _arms(second)]
    if not arms:
        raise DataError(
            f"no arm in common: {first.name} has {_listed(_arms(first))}, {second.name} has "
            f"{_listed(_arms(second))}; arms are paired by their names"
        )
    rows: list[RunRow] = []
    refused = list(_left_out(first, second, arms, variants))
    for variant in variants:
        pair = _Pair(first, second, variant, seeds)
        if both := [arm for arm in _arms(first, variant) if arm in _arms(second, variant)]:
            for key in pair.keys(refused):
                rows += _with_holm(list(pair.of_task(key, both, refused)))
    if not rows:
        raise DataError(
            f"{first.name} and {second.name}: nothing can be compared. " + " ".join(refused)
        )
    warnings = tuple(_warnings(first, second, variants))
    return RunComparison(rows=tuple(rows), refused=tuple(refused), warnings=warnings)


def comparison_csv(found: RunComparison) -> str:
    """The rows as CSV."""
    return as_csv(COLUMNS, (astuple(row) for row in found.rows))


@dataclass(frozen=True)
class _Pair:
    """The same variant of two runs."""

    first: Side
    second: Side
    variant: str
    seeds: Sequence[int]

    def keys(self, refused: list[str]) -> list[TaskKey]:
        """Tasks that both scored by the same main metric, in the order of the first run."""
        ours, theirs = (_main(side.results, self.variant) for side in (self.first, self.second))
        for one, keys, others in (
            (self.first.name, ours, theirs),
            (self.second.name, theirs, ours),
        ):
            if alone := [_told(key) for key in keys if key not in others]:
                refused.append(f"Scored by {one} alone: {', '.join(alone)}.")
        return [key for key in ours if key in theirs]

    def of_task(self, key: TaskKey, arms: Sequence[str], refused: list[str]) -> Iterator[RunRow]:
        """Row 0, then each arm after the last phase."""
        ends = [self.row(BASE_PHASE, key, 0, arms)]
        ends += [self.row(arm, key, None, (arm,)) for arm in arms]
        for found in ends:
            if isinstance(found, str):
                refused.append(found)
            elif found is not None:
                yield found

    def row(
        self, name: str, key: TaskKey, phase_index: int | None, arms: Sequence[str]
    ) -> RunRow | str | None:
        """The comparison of the first of these arms; a reason where there is none to be made."""
        arm = arms[0]
        sides = []
        for side in (self.first, self.second):
            index = _last(side.results, self.variant) if phase_index is None else phase_index
            places = [Checkpoint(self.variant, arm, seed, index) for seed in self.seeds]
            sides.append(_scored(side.results, key, places))
        if not all(sides):
            return None  # an arm that is not scored at this row, such as joint before its end
        (ours, theirs) = sides
        facts = ours[0][0]
        if (facts.unit, facts.higher_is_better) != (
            theirs[0][0].unit,
            theirs[0][0].higher_is_better,
        ):
            return f"{_told(key)}: the two runs score it in unlike units."
        sampled, values, num_items = _difference(key, ours, theirs)
        if not num_items:
            return (
                f"{_told(key)}, {name}: the two runs share none of its items (other data, another "
                "version of the task, or limits that leave none in common)."
            )
        ends = interval(sampled) if sampled.size > 1 else UNKNOWN
        return RunRow(
            variant=self.variant,
            arm=name,
            **key._asdict(),
            value=values[0],
            other=values[1],
            difference=figure(sampled),
            ci_low=ends.low,
            ci_high=ends.high,
            p=draws_p_value(sampled[1:]),
            p_holm=math.nan,
            num_items=num_items,
            num_seeds=len(self.seeds),
            higher_is_better=facts.higher_is_better,
            unit=facts.unit,
        )


Scored = list[tuple[ScoreRow, Items | None]]


def _scored(results: Results, key: TaskKey, places: Sequence[Checkpoint]) -> Scored:
    """Score and items of each seed's checkpoint; [] where one is missing."""
    rows = {row.checkpoint: row for row in results.scores if row.key == key}
    if not all(place in rows for place in places):
        return []
    return [(rows[place], results.items.get(ItemKey(place, key))) for place in places]


def _difference(
    key: TaskKey, ours: Scored, theirs: Scored
) -> tuple[Floats, tuple[float, float], int]:
    """The sampled difference, both values, and the number of items they are of."""
    all_items = [items for _, items in (*ours, *theirs) if items is not None]
    if len(all_items) < len(ours) + len(theirs):  # a number of the whole corpus
        values = [float(np.mean([row.value for row, _ in side])) for side in (ours, theirs)]
        same = len({row.num_items for row, _ in (*ours, *theirs)}) == 1
        found = np.array([values[0] - values[1]])
        return found, (values[0], values[1]), ours[0][0].num_items if same else 0
    shared = all_items[0].hashes
    for items in all_items[1:]:
        shared = np.intersect1d(shared, items.hashes)
    if not len(shared):
        return np.array([math.nan]), (math.nan, math.nan), 0
    paired = [_only(items, shared) for items in all_items]
    sampled_RN = sampled_scores(
        [one.figures for one in paired], generator("items", *key), clusters_I=paired[0].groups
    )
    half = len(ours)
    means = float(sampled_RN[:half, 0].mean()), float(sampled_RN[half:, 0].mean())
    by_seed = list(sampled_RN[:half] - sampled_RN[half:])
    mean_N = mean_over_seeds(by_seed, "runs", *key)
    return mean_N, means, len(shared)


def _only(items: Items, hashes: np.ndarray) -> Items:
    """The items of these hashes, in their order."""
    order = np.argsort(items.hashes)
    place = order[np.searchsorted(items.hashes, hashes, sorter=order)]
    return items.at(place)


def _with_holm(rows: list[RunRow]) -> list[RunRow]:
    """P values by Holm over the arms of one task; row 0 is no arm."""
    p_A = np.array([math.nan if row.arm == BASE_PHASE else row.p for row in rows])
    return [replace(row, p_holm=float(p)) for row, p in zip(rows, holm(p_A), strict=True)]


def _main(results: Results, variant: str) -> list[TaskKey]:
    rows = [row for row in results.scores if row.variant == variant and row.is_main]
    return list(dict.fromkeys(row.key for row in rows))


def _last(results: Results, variant: str) -> int:
    return next(len(one.phases) for one in results.variants if one.name == variant)


def _arms(side: Side, variant: str | None = None) -> list[str]:
    """The arms of a run, or those of one of its variants."""
    run = next((one.arms for one in side.results.variants if one.name == variant), ())
    return [arm.name for arm in side.results.arms if not run or arm.name in run]


def _shared_variants(first: Side, second: Side) -> list[str]:
    """Variants of the same name that start from the same weights."""
    names = [name for name in first.models if name in second.models]
    if not names:
        raise DataError(
            f"no variant in common: {first.name} has {_listed(first.models)}, {second.name} has "
            f"{_listed(second.models)}"
        )
    unlike = [name for name in names if first.models[name] != second.models[name]]
    if unlike:
        models = [_model(side.results, unlike[0]) for side in (first, second)]
        raise DataError(
            f"{first.name} starts from {models[0]}, {second.name} from {models[1]}: other weights. "
            "What an arm learnt or lost is counted from its base model, so these runs do not pair; "
            "`retain eval MODEL --compare-with MODEL` compares any two models."
        )
    return names


def _model(results: Results, variant: str) -> str:
    return next(one.model for one in results.variants if one.name == variant)


def _left_out(
    first: Side, second: Side, arms: Sequence[str], variants: Sequence[str]
) -> Iterator[str]:
    for side in (first, second):
        if alone := [arm for arm in _arms(side) if arm not in arms]:
            yield f"Arms of {side.name} alone: {', '.join(alone)}."
        for variant in variants:
            other = _arms(second if side is first else first, variant)
            if here := [one for one in arms if one in _arms(side, variant) and one not in other]:
                yield f"Arms of {side.name} alone in variant {variant}: {', '.join(here)}."
        if others := [name for name in side.models if name not in variants]:
            yield f"Variants of {side.name} alone: {', '.join(others)}."


def _warnings(first: Side, second: Side, variants: Sequence[str]) -> Iterator[str]:
    for name in WARNED:
        values = [side.results.environment.get(name, "not known") for side in (first, second)]
        if values[0] != values[1]:
            yield (
                f"{name}: {values[0]} in {first.name}, {values[1]} in {second.name}. Figures may "
                "differ for that reason alone."
            )
    for variant in variants:
        phases = [
            next(one.phases for one in side.results.variants if one.name == variant)
            for side in (first, second)
        ]
        if phases[0] != phases[1]:
            yield (
                f"The phases differ: {', '.join(phases[0])} in {first.name}, "
                f"{', '.join(phases[1])} in {second.name}; each run's last row is compared."
            )
    if set(first.results.seeds) != set(second.results.seeds):
        yield "The seeds differ; those that both have are compared."


def _told(key: TaskKey) -> str:
    return f"{key.task} ({key.metric}, {key.num_fewshot} shots)"


def _listed(things: Sequence[object] | Mapping[str, object]) -> str:
    return ", ".join(str(one) for one in things)
