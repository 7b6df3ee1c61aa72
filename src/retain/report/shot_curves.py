"""Scores by the number of examples in the prompt: base model and arms after the last phase."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from retain.measure.statistics import Interval
from retain.report.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, axes, colour_class, drawing
from retain.report.results import Arm
from retain.report.scorebook import ScoreBook, figure, interval
from retain.report.scores import Checkpoint, TaskKey
from retain.report.shots import (
    EXTRA_GAIN,
    RELATIVE_GAIN,
    SHUFFLED_EXTRA_GAIN,
    Sweep,
    over_draws,
    relative_gains,
    sweeps,
    unit_of_gain,
)
from retain.report.svg import Scale, padded, polyline
from retain.report.task_facts import TaskFacts
from retain.report.text import ends, number, signed, task_name

BASE = "base"


@dataclass(frozen=True, kw_only=True)
class ShotLine:
    """Scores of one model by number of shots; ``arm`` None is the base model.

    Attributes:
        extra: Gain with the most examples beyond the base model's, in ``unit``.
        sure: Its interval.
        control: The same where the examples' answers are permuted; NaN where that was not tried.
        control_sure: Its interval.
        relative: Gain with the most examples in percent of the score without any; empty where that
            is not above chance, or no fraction.
        unit: "points" for fractions, else that of the oriented metric.
    """

    arm: Arm | None
    place: int
    values: Sequence[float]
    extra: float
    sure: Interval
    control: float
    control_sure: Interval
    relative: tuple[str, str]
    unit: str

    @property
    def extra_text(self) -> tuple[str, str]:
        """The extra gain with a sign, and its interval; empty for the base model."""
        return self._told(self.extra, self.sure)

    @property
    def control_text(self) -> tuple[str, str]:
        """Those of the control; empty for the base model."""
        return self._told(self.control, self.control_sure)

    def _told(self, value: float, sure: Interval) -> tuple[str, str]:
        digits = 1 if self.unit == "points" else 3
        return ("", "") if self.arm is None else (signed(value, digits), ends(sure, digits))


@dataclass(frozen=True, kw_only=True)
class ShotPanel:
    """One task; scores are means over ``num_draws`` draws of examples."""

    name: str
    metric: str
    shots: Sequence[int]
    lines: Sequence[ShotLine]
    drawing: Markup
    num_draws: int
    has_control: bool


def shot_panels(book: ScoreBook, identity: str) -> list[ShotPanel]:
    """A panel for each task that was scored with several numbers of examples; the first seed."""
    return [
        _panel(book, key, sweep, f"{identity}-{place}")
        for place, (key, sweep) in enumerate(sweeps(book).items())
    ]


def _panel(book: ScoreBook, key: TaskKey, sweep: Sweep, identity: str) -> ShotPanel:
    shots = sweep.numbers
    facts = book.tasks[key]
    first = Checkpoint(book.variant.name, book.arms[0].name, book.seeds[0], 0)
    lines = [_line(None, 0, facts, sweep, first)]
    for place, arm in book.placed:
        where = first._replace(arm=arm.name, phase_index=book.num_phases)
        lines.append(_line(arm, place, facts, sweep, where))
    name = task_name(key.task)
    return ShotPanel(
        name=name,
        metric=key.metric,
        shots=shots,
        lines=lines,
        drawing=_drawing(name, shots, lines, identity),
        num_draws=len(sweep.draws),
        has_control=sweep.has_control,
    )


def _line(
    arm: Arm | None, place: int, facts: TaskFacts, sweep: Sweep, where: Checkpoint
) -> ShotLine:
    key, turn = facts.key, 1.0 if facts.higher_is_better else -1.0
    scores = [over_draws(sweep.by_draw(where, num), num, *key) for num in sweep.numbers]
    most = sweep.numbers[-1]
    scale, unit = unit_of_gain(facts)
    extra_N, control_N = (
        scale * over_draws(sweep.extra_gains(where, most, shuffled=shuffled), measure.name, *key)
        for shuffled, measure in ((False, EXTRA_GAIN), (True, SHUFFLED_EXTRA_GAIN))
    )
    return ShotLine(
        arm=arm,
        place=place,
        values=[turn * figure(one) for one in scores],
        extra=figure(extra_N),
        sure=interval(extra_N),
        control=figure(control_N),
        control_sure=interval(control_N),
        relative=_relative(facts, sweep, where),
        unit=unit,
    )


def _relative(facts: TaskFacts, sweep: Sweep, where: Checkpoint) -> tuple[str, str]:
    """The published gain with the most examples, and its interval, as text."""
    if facts.unit != "fraction":
        return "", ""
    gains = relative_gains(sweep, where, sweep.numbers[-1], facts.level)
    found_N = over_draws(gains, RELATIVE_GAIN.name, *facts.key)
    if np.isnan(figure(found_N)):
        return "", ""
    return f"{signed(figure(found_N), 1)}\N{NO-BREAK SPACE}%", ends(interval(found_N), 1)


def _drawing(name: str, shots: Sequence[int], lines: Sequence[ShotLine], identity: str) -> Markup:
    values = [value for line in lines for value in line.values]
    x_scale = Scale(shots[0], shots[-1], LEFT, WIDTH - RIGHT)
    y_scale = Scale(*padded(values), HEIGHT - BOTTOM, TOP)
    drawn = []
    for line in lines:
        known = [
            (x_scale(num), y_scale(value))
            for num, value in zip(shots, line.values, strict=True)
            if not np.isnan(value)
        ]
        colour = "shared" if line.arm is None else colour_class(line.place)
        if known:
            drawn.append(polyline(known, f"line {colour}"))
    told = "; ".join(
        f"{BASE if line.arm is None else line.arm.name}: "
        + ", ".join(f"{number(v)} at {k}" for k, v in zip(shots, line.values, strict=True))
        for line in lines
    )
    return drawing(
        identity,
        f"{name}, by examples in the prompt",
        told,
        axes(x_scale, y_scale, "examples in the prompt", "score"),
        *drawn,
    )
