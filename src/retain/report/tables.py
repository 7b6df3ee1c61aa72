"""scores.csv and measures.csv: the columns other people's scripts rely on.

Floats are written with six significant digits in Python's shortest form, so that two runs with
equal results write equal bytes; a missing figure is an empty cell. Columns may be added at the
end, never moved.
"""

import csv
import io
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import astuple, dataclass, fields, replace
from itertools import chain

import numpy as np

from retain.measure.statistics import Interval, seed_spread
from retain.report.answers import answer_measures
from retain.report.comparisons import Comparison, compare
from retain.report.flips import task_flips
from retain.report.group_measures import group_measures, phase_measures
from retain.report.measured import (
    DIFFERENCE_HOLM,
    DIFFERENCE_P,
    VISIBLE_DIFFERENCE,
    Measured,
    of_task,
)
from retain.report.scorebook import (
    MISSING,
    ScoreBook,
    figure,
    interval,
    mean_over_seeds,
    without_resamples,
)
from retain.report.scores import InsideScore, ScoreRow
from retain.report.shots import shot_measures, sweeps
from retain.report.task_measures import AllFlips, task_measures

SCORE_COLUMNS = (
    "variant", "arm", "seed", "phase_index", "phase", "task", "metric", "num_fewshot", "value",
    "stderr", "num_items", "higher_is_better", "is_main",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MeasureRow:
    """One line of measures.csv, its columns in its order; NaN and None become empty cells.

    Attributes:
        seed: None for a figure over all seeds.
        group: Name of the group, for a figure of a group or of a task in one.
        task: Empty for a figure of a group, and so is the metric.
        unit: What the figure counts; "-" in front where lower is better and scores are negated.
        versus: What it is compared with; empty when with nothing. The control is called by the name
            of its arm.
        items_right_to_wrong: Of one seed's comparison of two checkpoints on items that are right or
            wrong: how many only the one compared with answers right.
        items_wrong_to_right: Likewise, how many only this one answers right.
        mcnemar_p: Exact McNemar test of these two numbers, of this pair alone; empty where items
            share a source.
    """

    variant: str
    arm: str
    seed: int | None
    phase_index: int
    phase: str
    group: str
    task: str
    metric: str
    num_fewshot: int
    measure: str
    value: float
    unit: str
    ci_low: float
    ci_high: float
    num_items: int
    num_seeds: int
    versus: str
    items_right_to_wrong: int | None = None
    items_wrong_to_right: int | None = None
    mcnemar_p: float = math.nan

    @property
    def interval(self) -> Interval:
        """Both ends; NaN where there is none."""
        return Interval(self.ci_low, self.ci_high)


MEASURE_COLUMNS = tuple(column.name for column in fields(MeasureRow))


def measure_rows(book: ScoreBook, arms: Collection[str] = ()) -> list[MeasureRow]:
    """All measures of one variant: each seed's own, then with several seeds their mean and spread.

    Args:
        book: Scores of one variant and of one role.
        arms: Only of these arms, and without the comparisons; empty for all.

    Returns:
        Rows in a fixed order. A measure whose scores are missing is a row without a value; the
        spread over seeds is the row `<measure>_seed_spread`, a standard deviation. Last come the
        comparisons of every arm with its control, over all seeds.
    """
    rows: list[MeasureRow] = []
    all_flips = {key: task_flips(book, key) for key in book.tasks}
    all_sweeps = sweeps(book)
    for arm in book.arms:
        if arms and arm.name not in arms:
            continue
        by_seed = [
            [
                *arm_measures(book, arm.name, seed, all_flips),
                *shot_measures(book, arm.name, seed, all_sweeps),
                *answer_measures(book, arm.name, seed),
            ]
            for seed in book.seeds
        ]
        for seed, measured in zip(book.seeds, by_seed, strict=True):
            rows += [_row(book, arm.name, seed, one) for one in measured]
        if len(book.seeds) > 1:
            for same in zip(*by_seed, strict=True):
                rows += _rows_over_seeds(book, arm.name, list(same))
    if arms:
        return rows
    return rows + [row for line in compare(book) for one in line for row in _compared(book, one)]


def arm_measures(book: ScoreBook, arm: str, seed: int, all_flips: AllFlips) -> Iterator[Measured]:
    """All measures of one arm and seed, each once; the same in the same order for every seed."""
    told = set()
    for one in chain(
        task_measures(book, arm, seed, all_flips),
        phase_measures(book, arm, seed),
        group_measures(book, arm, seed),
    ):
        name = (one.phase_index, one.group, one.key, one.measure, one.unit)
        if name not in told:
            told.add(name)
            yield one


def at_fewest_shots(rows: Iterable[MeasureRow]) -> list[MeasureRow]:
    """Of rows that differ in the number of shots alone, the one with the fewest."""
    found: dict[tuple[object, ...], MeasureRow] = {}
    for row in rows:
        where = (row.variant, row.arm, row.seed, row.phase_index)
        name = (*where, row.group, row.task, row.metric, row.measure, row.unit)
        if name not in found or row.num_fewshot < found[name].num_fewshot:
            found[name] = row
    return list(found.values())


def scores_csv(rows: Iterable[ScoreRow]) -> str:
    """The text of scores.csv; give it rows of the role "report" alone."""
    return as_csv(SCORE_COLUMNS, ([getattr(row, name) for name in SCORE_COLUMNS] for row in rows))


def during_csv(rows: Iterable[InsideScore]) -> str:
    """The text of during.csv; give it rows of the role "report" alone."""
    columns = (*SCORE_COLUMNS, "optimizer_step", "part")
    return as_csv(columns, ([getattr(row, name) for name in columns] for row in rows))


def measures_csv(rows: Iterable[MeasureRow]) -> str:
    """The text of measures.csv."""
    return as_csv(MEASURE_COLUMNS, (astuple(row) for row in rows))


def cell(value: object) -> str:
    """How a value is written in a table.

    >>> [cell(x) for x in (1 / 3, -0.0, 2e-7, 12, True, None, math.nan, "hindi")]
    ['0.333333', '0.0', '2e-07', '12', 'true', '', '', 'hindi']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(float(f"{value:.6g}") + 0.0)
    return str(value)


def as_csv(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV, its values as `cell` writes them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(value) for value in row])
    return text.getvalue()


def _rows_over_seeds(book: ScoreBook, arm: str, same: list[Measured]) -> list[MeasureRow]:
    """The mean over seeds, and the standard deviation between them."""
    first = same[0]
    mean_N = mean_over_seeds([one.sampled for one in same], first.measure.name, *first.key)
    first = replace(first, turned=None)  # items turn in one model, not in a mean
    mean = _row(book, arm, None, replace(first, sampled=mean_N))
    spread_N = MISSING.copy()
    spread_N[0] = seed_spread(np.array([figure(one.sampled) for one in same]))
    name = f"{first.measure.name}_seed_spread"
    apart = replace(first, sampled=spread_N, measure=first.measure._replace(name=name))
    spread = _row(book, arm, None, apart)
    return [replace(row, num_seeds=len(same)) for row in (mean, spread)]


def _compared(book: ScoreBook, one: Comparison) -> Iterator[MeasureRow]:
    """How sure the difference from the control is: p, p by Holm, and what could have been seen."""
    last = book.num_phases
    several = len(book.seeds) > 1
    for measure, value in (
        (DIFFERENCE_P, one.p),
        (DIFFERENCE_HOLM, one.p_holm),
        (VISIBLE_DIFFERENCE, one.visible),
    ):
        sampled_N = without_resamples(value)
        row = _row(
            *(book, one.arm.name, None if several else book.seeds[0]),
            of_task(book, last, one.key, measure, sampled_N),
        )
        yield replace(row, num_seeds=len(book.seeds))


def _row(book: ScoreBook, arm: str, seed: int | None, one: Measured) -> MeasureRow:
    ends, turned = interval(one.sampled), one.turned
    return MeasureRow(
        variant=book.variant.name,
        arm=arm,
        seed=seed,
        phase_index=one.phase_index,
        phase=book.phase_name(one.phase_index),
        group=one.group,
        task=one.key.task,
        metric=one.key.metric,
        num_fewshot=one.key.num_fewshot,
        measure=one.measure.name,
        value=figure(one.sampled),
        unit=one.unit,
        ci_low=ends.low,
        ci_high=ends.high,
        num_items=one.num_items,
        num_seeds=1,
        versus=(book.control_of(arm) or "")
        if one.measure.versus == "control"
        else one.measure.versus,
        items_right_to_wrong=None if turned is None else turned.right_to_wrong,
        items_wrong_to_right=None if turned is None else turned.wrong_to_right,
        mcnemar_p=math.nan if turned is None else turned.p,
    )
