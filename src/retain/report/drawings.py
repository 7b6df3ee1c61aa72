"""The page's pictures as inline SVG: planes of learnt against forgotten, and loss curves.

Colours come from the page's style sheet by class, so that light, dark and print share one drawing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from retain.report.planes import Panel, Point
from retain.report.results import Arm, Curve
from retain.report.svg import Scale, element, group, marker, padded, polyline, tick_labels, ticks
from retain.report.text import ends, number, visible

NUM_COLOURS = 8
"""Colours of the style sheet; further arms begin again."""

WIDTH, HEIGHT = 380, 290
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 14, 42

_LABEL_PLACES = ((9, 4, "start"), (-9, 4, "end"), (0, -10, "middle"), (0, 18, "middle"))
_CHARACTER_WIDTH, _LINE_HEIGHT = 6.3, 12.0
_MOST_POINTS = 160


def colour_class(place: int) -> str:
    """Class of an arm's colour.

    >>> colour_class(9)
    'arm-1'
    """
    return f"arm-{place % NUM_COLOURS}"


def mark_kind(arm: Arm) -> str:
    """Shape of an arm's mark."""
    return "diamond" if arm.is_reference else "circle" if arm.is_plain else "square"


def legend_mark(arm: Arm, place: int) -> Markup:
    """The arm's mark alone, for legends and tables; words beside it say its name."""
    mark = marker(mark_kind(arm), 6, 6, 4.2, f"mark {colour_class(place)}")
    return element("svg", mark, viewBox="0 0 12 12", class_="key", aria_hidden="true")


def plane(panel: Panel, identity: str) -> Markup:
    """One learnt-against-forgotten plane; up and right is good.

    Args:
        panel: What to draw.
        identity: Unique on the page, for the accessible name.
    """
    points = panel.points
    horizontal = [x for p in points for x in (p.learnt, *p.learnt_interval)]
    horizontal += [x for p in points for x, _ in p.seeds]
    vertical = [y for p in points for y in (p.lost, *p.lost_interval)]
    vertical += [y for p in points for _, y in p.seeds]
    x_scale = Scale(*padded(horizontal), LEFT, WIDTH - RIGHT)
    y_scale = Scale(*padded([*vertical, 0.0]), TOP, HEIGHT - BOTTOM)
    told = "; ".join(
        f"{p.arm.name}: learnt {number(p.learnt)}, lost {number(p.lost)} "
        f"{ends(p.lost_interval)}".rstrip()
        for p in points
    )
    return element(
        "svg",
        element("title", f"{panel.title}: learnt against forgotten", id=f"{identity}-title"),
        element("desc", told, id=f"{identity}-told"),
        _axes(x_scale, y_scale, panel.learnt_label, "lost"),
        _zero_line(x_scale, y_scale),
        *(_drawn_point(point, x_scale, y_scale) for point in points),
        *_labels(points, x_scale, y_scale),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=f"{identity}-title {identity}-told",
        class_="plot",
    )


@dataclass(frozen=True)
class Line:
    """A loss curve; ``place`` is None where all arms share it."""

    name: str
    place: int | None
    steps: tuple[float, ...]
    losses: tuple[float, ...]


def curve_lines(curves: Sequence[Curve], arms: Sequence[Arm]) -> list[Line]:
    """One phase's curves, smoothed; one line for all arms when they share the phase.

    Each point is the mean of a run of steps, at most 160 of them a curve.
    """
    told = {(tuple(curve.steps), tuple(curve.losses)) for curve in curves}
    places = {arm.name: place for place, arm in enumerate(arms)}
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
    x_scale = Scale(min(steps, default=0), max(max(steps, default=1), 1), LEFT, WIDTH - RIGHT)
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
    return element(
        "svg",
        element("title", f"Training loss, phase {phase}", id=f"{identity}-title"),
        element("desc", told, id=f"{identity}-told"),
        _axes(x_scale, y_scale, "optimizer step", "nats per trained token"),
        *drawn,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=f"{identity}-title {identity}-told",
        class_="plot",
    )


def _axes(x_scale: Scale, y_scale: Scale, x_label: str, y_label: str) -> Markup:
    floor = HEIGHT - BOTTOM
    drawn = []
    places = ticks(x_scale.low, x_scale.high)
    for place, label in zip(places, tick_labels(places), strict=True):
        x = x_scale(place)
        drawn.append(element("line", x1=x, x2=x, y1=TOP, y2=floor, class_="grid"))
        drawn.append(element("text", label, x=x, y=floor + 15, text_anchor="middle", class_="tick"))
    places = ticks(y_scale.low, y_scale.high)
    for place, label in zip(places, tick_labels(places), strict=True):
        y = y_scale(place)
        drawn.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        drawn.append(element("text", label, x=LEFT - 6, y=y + 4, text_anchor="end", class_="tick"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(
        element("text", x_label, x=middle, y=HEIGHT - 8, text_anchor="middle", class_="axis")
    )
    turned = f"rotate(-90 12 {(TOP + floor) / 2:.0f})"
    drawn.append(
        element(
            *("text", y_label),
            x=12,
            y=(TOP + floor) / 2,
            text_anchor="middle",
            transform=turned,
            class_="axis",
        )
    )
    return element("g", *drawn)


def _zero_line(x_scale: Scale, y_scale: Scale) -> Markup:
    y = y_scale(0.0)
    line = element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="zero")
    note = element("text", "nothing lost", x=LEFT + 4, y=y - 4, text_anchor="start", class_="note")
    return group([line, note])


def _drawn_point(point: Point, x_scale: Scale, y_scale: Scale) -> Markup:
    colour = colour_class(point.place)
    x, y = x_scale(point.learnt), y_scale(point.lost)
    drawn = []
    if point.learnt_interval.known:
        left, right = (x_scale(end) for end in point.learnt_interval)
        drawn.append(element("line", x1=left, x2=right, y1=y, y2=y, class_=f"whisker {colour}"))
    if point.lost_interval.known:
        top, bottom = (y_scale(end) for end in point.lost_interval)
        drawn.append(element("line", x1=x, x2=x, y1=top, y2=bottom, class_=f"whisker {colour}"))
    drawn += [
        element("circle", cx=x_scale(a), cy=y_scale(b), r=2, class_=f"seed {colour}")
        for a, b in point.seeds
    ]
    drawn.append(marker(mark_kind(point.arm), x, y, 5.0, f"mark {colour}"))
    return element("g", *drawn)


def _labels(points: Sequence[Point], x_scale: Scale, y_scale: Scale) -> list[Markup]:
    """Names beside their marks where there is room; the legend has them all."""
    marks = [(x_scale(p.learnt), y_scale(p.lost)) for p in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in marks]
    drawn = []
    for point, (x, y) in zip(points, marks, strict=True):
        name = visible(point.arm.name)
        for right, down, anchor in _LABEL_PLACES:
            box = _box(name, x + right, y + down, anchor)
            if _is_inside(box) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                colour = f"label {colour_class(point.place)}"
                drawn.append(
                    element(
                        *("text", name),
                        x=x + right,
                        y=y + down,
                        text_anchor=anchor,
                        class_=colour,
                    )
                )
                break
    return drawn


Box = tuple[float, float, float, float]


def _box(name: str, x: float, y: float, anchor: str) -> Box:
    width = _CHARACTER_WIDTH * len(name)
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return left, y - _LINE_HEIGHT + 3, left + width, y + 3


def _is_inside(box: Box) -> bool:
    return box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _smoothed(curve: Curve) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means over runs of steps: a tenth as many points as steps, at least 20, at most 160."""
    steps, losses = np.asarray(curve.steps, float), np.asarray(curve.losses, float)
    num_points = min(len(steps), max(20, min(_MOST_POINTS, len(steps) // 10)))
    runs = np.array_split(np.arange(len(steps)), max(num_points, 1))
    return (
        tuple(float(steps[run].mean()) for run in runs if len(run)),
        tuple(float(losses[run].mean()) for run in runs if len(run)),
    )
