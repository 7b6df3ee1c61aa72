"""Every arm against its control after the last phase, with p values that hold for all arms."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from retain.measure.significance import draws_p_value, holm
from retain.measure.statistics import Interval, smallest_visible_change
from retain.report.results import Arm
from retain.report.scorebook import Floats, ScoreBook, figure, interval, mean_over_seeds
from retain.report.scores import TaskKey
from retain.report.task_facts import TaskFacts
from retain.report.text import apart, ends, metric_name, number, signed, task_name

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One arm less its control on one task, mean over seeds.

    Attributes:
        arm: The arm; ``place`` in the recipe.
        key: The task.
        difference: Oriented: positive is better than the control.
        p: Two-sided, of this comparison alone; NaN where there is no interval.
        p_holm: Holm's over the arms compared on this task.
        visible: Smallest true difference that these items would show with power 80 %.
    """

    arm: Arm
    place: int
    key: TaskKey
    difference: float
    its_interval: Interval
    p: float
    p_holm: float
    visible: float

    @property
    def is_different(self) -> bool:
        """Whether the arm differs from the control, all arms of the task taken together."""
        return self.p_holm <= LEVEL


def compare(book: ScoreBook) -> list[list[Comparison]]:
    """For each shown task, every arm that has a control other than itself; [] without a control.

    Paired by item; seeds are resampled together with the items.
    """
    keys = [key for key in book.tasks if book.is_shown(key)]
    found = [list(_of_task(book, key)) for key in keys]
    return [one for one in found if one]


def _of_task(book: ScoreBook, key: TaskKey) -> Iterator[Comparison]:
    compared: list[tuple[int, Arm, Floats]] = []
    for place, arm in book.placed:
        control = book.control_of(arm.name)
        if control not in (None, arm.name):
            compared.append((place, arm, _difference(book, arm.name, control, key)))
    num_sources = book.tasks[key].num_sources or None
    p_A = np.array([draws_p_value(apart_N[1:], num_sources) for _, _, apart_N in compared])
    holm_A = holm(p_A)
    for (place, arm, apart_N), p, p_holm in zip(compared, p_A, holm_A, strict=True):
        yield Comparison(
            arm=arm,
            place=place,
            key=key,
            difference=figure(apart_N),
            its_interval=interval(apart_N),
            p=float(p),
            p_holm=float(p_holm),
            visible=smallest_visible_change(apart_N[1:]),
        )


def _difference(book: ScoreBook, arm: str, control: str, key: TaskKey) -> Floats:
    last = book.num_phases
    by_seed = [
        book.score(arm, seed, last, key) - book.score(control, seed, last, key)
        for seed in book.seeds
    ]
    return mean_over_seeds(by_seed, "difference", *key)


# ---------------------------------------------------------------- for the page


@dataclass(frozen=True, kw_only=True)
class ComparisonCell:
    """One comparison as text; empty where there is nothing to say."""

    value: str
    interval: str
    p: str
    visible: str
    tone: str


@dataclass(frozen=True, kw_only=True)
class ComparisonLine:
    """All comparisons on one task; ``arms`` are those compared, with their places."""

    subject: str
    metric: str
    num_items: int
    arms: tuple[tuple[Arm, int], ...]
    cells: tuple[ComparisonCell, ...]


def comparison_lines(book: ScoreBook) -> list[ComparisonLine]:
    """The table of the page; [] where nothing is compared."""
    return [
        ComparisonLine(
            subject=task_name(row[0].key.task),
            metric=metric_name(row[0].key.metric),
            num_items=book.tasks[row[0].key].num_items,
            arms=tuple((one.arm, one.place) for one in row),
            cells=tuple(_cell(one, book.tasks[one.key]) for one in row),
        )
        for row in compare(book)
    ]


def _cell(one: Comparison, facts: TaskFacts) -> ComparisonCell:
    if math.isnan(one.difference):
        return ComparisonCell(value="", interval="", p="", visible="", tone="")
    if one.its_interval == (0.0, 0.0):  # nothing to test, and no spread to tell what is visible
        return ComparisonCell(
            value=signed(one.difference),
            interval=apart(one.its_interval, facts.num_items),
            p="",
            visible="",
            tone="",
        )
    return ComparisonCell(
        value=signed(one.difference),
        interval=ends(one.its_interval),
        p="" if math.isnan(one.p_holm) else told_p(one.p_holm),
        visible="" if math.isnan(one.visible) else number(one.visible),
        tone=("gain-1" if one.difference > 0 else "loss-1")
        if one.is_different and facts.has_direction
        else "",
    )


def told_p(p: float) -> str:
    """A p value for people.

    >>> told_p(0.0312), told_p(0.00025), told_p(1.0)
    ('0.031', '< 0.001', '1')
    """
    if p < 0.001:
        return "< 0.001"
    return "1" if p >= 0.9995 else number(p)
