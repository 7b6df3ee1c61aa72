"""Training loss as inline SVG: one plot per phase, one line per arm."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from retain.report.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, axes, colour_class, drawing
from retain.report.facts import Curve
from retain.report.results import Arm
from retain.report.svg import Scale, padded, polyline
from retain.report.text import number

_MOST_POINTS = 160


@dataclass(frozen=True)
class Line:
    """A loss curve; ``place`` is None where all arms share it."""

    name: str
    place: int | None
    steps: tuple[float, ...]
    losses: tuple[float, ...]


def curve_lines(curves: Sequence[Curve], placed: Sequence[tuple[int, Arm]]) -> list[Line]:
    """One phase's curves, smoothed; one line for all arms when they share the phase.

    Each point is the mean of a run of steps, at most 160 of them a curve. Arms come with their
    places, as a book has them.
    """
    told = {(tuple(curve.steps), tuple(curve.losses)) for curve in curves}
    places = {arm.name: place for place, arm in placed}
    if len(told) == 1 and len({curve.checkpoint.arm for curve in curves}) > 1:
        steps, losses = _smoothed(curves[0])
        return [Line("all arms", None, steps, losses)]
    return [
        Line(curve.checkpoint.arm, places[curve.checkpoint.arm], *_smoothed(curve))
        for curve in curves
    ]


def loss_plot(lines: Sequence[Line], phase: str, identity: str) -> Markup:
    """Training loss of one phase, one line per arm."""
    steps = [step for line in lines for step in line.steps]
    losses = [loss for line in lines for loss in line.losses]
    first = min(steps, default=0)
    x_scale = Scale(first, max(max(steps, default=1), first + 1), LEFT, WIDTH - RIGHT)
    y_scale = Scale(*padded(losses), HEIGHT - BOTTOM, TOP)
    drawn = [
        polyline(
            ((x_scale(x), y_scale(y)) for x, y in zip(line.steps, line.losses, strict=True)),
            "line " + ("shared" if line.place is None else colour_class(line.place)),
        )
        for line in lines
    ]
    told = "; ".join(
        f"{line.name}: {number(line.losses[0])} at first, {number(line.losses[-1])} at last"
        for line in lines
    )
    return drawing(
        identity,
        f"Training loss, phase {phase}",
        told,
        axes(x_scale, y_scale, "optimizer step", "nats per trained token"),
        *drawn,
    )


def _smoothed(curve: Curve) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means over runs of steps: a tenth as many points as steps, at least 20, at most 160."""
    steps, losses = np.asarray(curve.steps, float), np.asarray(curve.losses, float)
    num_points = min(len(steps), max(20, min(_MOST_POINTS, len(steps) // 10)))
    runs = np.array_split(np.arange(len(steps)), max(num_points, 1))
    return (
        tuple(float(steps[run].mean()) for run in runs if len(run)),
        tuple(float(losses[run].mean()) for run in runs if len(run)),
    )
