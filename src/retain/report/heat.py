"""The score matrix of each arm as a heat map: phases by tasks, with the change from base."""

import math
from dataclasses import dataclass

from retain.measure.bias import neutral_share
from retain.measure.statistics import UNKNOWN, Interval
from retain.report.results import Arm
from retain.report.scorebook import Floats, ScoreBook, figure, interval
from retain.report.task_facts import TaskFacts
from retain.report.text import apart, metric_name, number, signed, task_name

NUM_TONES = 3
"""Steps of colour on each side."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One score.

    Attributes:
        value: In the unit of the metric; NaN where it was not scored.
        change: From base, in the unit and direction of the metric; NaN in row 0.
        change_interval: Of the change, in the same direction.
        num_items: Behind the score.
        tone: -3 to 3, loss to gain; 0 where the change is within its interval.
    """

    value: float
    change: float
    change_interval: Interval
    num_items: int
    tone: int

    @property
    def value_text(self) -> str:
        """The score, or a dash."""
        return number(self.value)

    @property
    def change_text(self) -> str:
        """Change from base with a sign; empty in row 0."""
        return "" if math.isnan(self.change) else signed(self.change)

    @property
    def interval_text(self) -> str:
        """Interval of the change, or that nothing differs; empty where there is none."""
        return "" if math.isnan(self.change) else apart(self.change_interval, self.num_items)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One task of a heat map, and what its scores must be read against.

    Attributes:
        part: What of the task it is, where a table is of one task; empty for the task itself.
    """

    facts: TaskFacts
    is_taught: bool
    part: str = ""

    @property
    def name(self) -> str:
        """The task, or the part of it, for people."""
        return self.part or task_name(self.facts.key.task)

    @property
    def is_about_neutral(self) -> bool:
        """Whether neither more nor less is better: a share of stereotypes."""
        return neutral_share(self.facts.key.metric) is not None

    @property
    def metric(self) -> str:
        """Metric and direction."""
        name = metric_name(self.facts.key.metric)
        neutral = neutral_share(self.facts.key.metric)
        better = "higher" if self.facts.higher_is_better else "lower"
        told = f"{better} is better" if neutral is None else f"{neutral:g} is neutral"
        return told if self.part else f"{name}, {told}"

    @property
    def levels(self) -> list[str]:
        """Chance and majority class, where there are any."""
        known = (("chance", self.facts.chance), ("majority", self.facts.majority))
        return [f"{name} {number(value)}" for name, value in known if value is not None]

    @property
    def no_interval(self) -> str:
        """Why its changes have no interval; empty when they have, or without items."""
        return self.facts.no_interval if self.facts.num_sources else ""

    @property
    def is_without_headroom(self) -> bool:
        """Whether row 0 says nothing of what could be lost; a taught task is about learning."""
        return not self.facts.has_headroom and not self.is_taught


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """The score matrix of one arm; ``rows`` are phase names and their cells, row 0 first."""

    arm: Arm
    place: int
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows under one heading: of one arm, or (``arm`` None) those that the arms share."""

    arm: Arm | None
    place: int
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def heat_maps(book: ScoreBook) -> list[HeatMap]:
    """One heat map per arm, of main metrics at the fewest shots; a task has one scale for all."""
    columns = [
        Column(facts=facts, is_taught=book.taught_in(key) is not None)
        for key, facts in book.tasks.items()
        if book.is_shown(key)
    ]
    return _maps(book, tuple(columns))


OF_BIAS = {"icat": "ICAT", "lms": "sense before nonsense (LMS)"}
"""What stands beside StereoSet's shares: no share itself, but what they must be read against."""


def bias_maps(book: ScoreBook) -> list[tuple[str, list[HeatMap]]]:
    """For each task of stereotypes its shares, in all and by type of bias, as heat maps."""
    by_task: dict[str, list[Column]] = {}
    for key, facts in book.tasks.items():
        if part := _part_of_bias(key.metric):
            column = Column(facts=facts, is_taught=False, part=part)
            by_task.setdefault(key.task, []).append(column)
    return [
        (task_name(task), _maps(book, tuple(sorted(columns, key=_place_of_bias))))
        for task, columns in by_task.items()
        if any(column.is_about_neutral for column in columns)
    ]


def _part_of_bias(metric: str) -> str:
    """What a column of the table of stereotypes is called; empty for any other metric."""
    if metric in OF_BIAS:
        return OF_BIAS[metric]
    if neutral_share(metric) is None:
        return ""
    kind = "" if metric == "pct_stereotype" else metric.partition("_")[2]
    return kind.replace("_", " ") or "all"


def _place_of_bias(column: Column) -> tuple[bool, bool]:
    """The share of all items, then what stands beside it, then types of bias."""
    return column.part != "all", column.part not in OF_BIAS.values()


def _maps(book: ScoreBook, columns: tuple[Column, ...]) -> list[HeatMap]:
    scales = [_scale(book, column.facts) for column in columns]
    return [
        HeatMap(
            arm=arm,
            place=place,
            columns=columns,
            rows=tuple(
                (book.phase_name(row), _cells(book, arm.name, row, columns, scales))
                for row in range(book.num_phases + 1)
            ),
        )
        for place, arm in book.placed
    ]


def blocks(maps: list[HeatMap]) -> list[Block]:
    """The heat maps one under the other; what all arms share is told once, at the top.

    A row is shared when every arm that has scores there shows the same; a row in which an arm has
    no score at all is left out.
    """
    num_rows = len(maps[0].rows) if maps else 0
    shared = []
    for row in range(num_rows):
        told = {_told(one.rows[row][1]) for one in maps if _is_scored(one.rows[row][1])}
        if len(maps) > 1 and len(told) == 1:
            shared.append(row)
    found = []
    if shared:
        full = next(one for one in maps if all(_is_scored(one.rows[row][1]) for row in shared))
        found.append(Block(arm=None, place=0, rows=tuple(full.rows[row] for row in shared)))
    for one in maps:
        own = [row for row in range(num_rows) if row not in shared]
        rows = tuple(one.rows[row] for row in own if _is_scored(one.rows[row][1]))
        found.append(Block(arm=one.arm, place=one.place, rows=rows))
    return [block for block in found if block.rows]


def _told(cells: tuple[Cell, ...]) -> tuple[tuple[str, str, str], ...]:
    return tuple((cell.value_text, cell.change_text, cell.interval_text) for cell in cells)


def _is_scored(cells: tuple[Cell, ...]) -> bool:
    return any(not math.isnan(cell.value) for cell in cells)


def _cells(
    book: ScoreBook, arm: str, row: int, columns: tuple[Column, ...], scales: list[float]
) -> tuple[Cell, ...]:
    return tuple(
        _cell(book, arm, row, column.facts, scale, neutral=column.is_about_neutral)
        for column, scale in zip(columns, scales, strict=True)
    )


def _change(book: ScoreBook, arm: str, row: int, facts: TaskFacts) -> Floats:
    return book.mean(arm, row, facts.key) - book.mean(arm, 0, facts.key)


def _scale(book: ScoreBook, facts: TaskFacts) -> float:
    """The largest change of a task over all arms and phases: full colour."""
    changes = [
        abs(figure(_change(book, arm.name, row, facts)))
        for arm in book.arms
        for row in range(1, book.num_phases + 1)
    ]
    return max((change for change in changes if not math.isnan(change)), default=0.0)


def _cell(
    book: ScoreBook, arm: str, row: int, facts: TaskFacts, scale: float, *, neutral: bool
) -> Cell:
    turn = 1 if facts.higher_is_better else -1
    value = turn * figure(book.mean(arm, row, facts.key))
    if row == 0:
        return Cell(
            value=value,
            change=math.nan,
            change_interval=UNKNOWN,
            num_items=facts.num_items,
            tone=0,
        )
    change_N = _change(book, arm, row, facts)
    low, high = sorted(turn * end for end in interval(change_N))
    return Cell(
        value=value,
        change=turn * figure(change_N),
        change_interval=Interval(low, high),
        num_items=facts.num_items,
        tone=0 if neutral else _tone(figure(change_N), interval(change_N), scale),
    )


def _tone(change: float, its_interval: Interval, scale: float) -> int:
    if not (its_interval.is_above_zero or its_interval.is_below_zero):
        return 0
    strength = max(1, math.ceil(NUM_TONES * abs(change) / scale))
    return min(strength, NUM_TONES) * (1 if change > 0 else -1)
