"""The learnt-against-forgotten plane as inline SVG."""

from collections.abc import Sequence

from markupsafe import Markup

from retain.report.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    axes,
    colour_class,
    drawing,
    mark_kind,
)
from retain.report.planes import Panel, Point
from retain.report.svg import Scale, element, group, marker, padded, polyline
from retain.report.text import ends, number, visible

_LABEL_PLACES = (
    *((9, -7, "start"), (-9, -7, "end"), (9, 15, "start"), (-9, 15, "end")),
    *((0, -11, "middle"), (0, 19, "middle"), (22, 4, "start"), (-22, 4, "end")),
)
_CHARACTER_WIDTH, _LINE_HEIGHT = 6.3, 12.0
_NOTE = "nothing lost"
_NOTE_PLACES = (
    *((LEFT + 4, -4, "start"), (WIDTH - RIGHT - 4, -4, "end")),
    *((LEFT + 4, 13, "start"), (WIDTH - RIGHT - 4, 13, "end")),
)


def plane(panel: Panel, identity: str) -> Markup:
    """One learnt-against-forgotten plane; up and right is good.

    Args:
        panel: What to draw.
        identity: Unique on the page, for the accessible name.
    """
    points = panel.points
    inside = [point for path in panel.paths for point in path[:-1]]
    horizontal = [x for p in points for x in (p.learnt, *p.learnt_interval)]
    horizontal += [x for p in points for x, _ in p.seeds] + [p.learnt for p in inside]
    vertical = [y for p in points for y in (p.lost, *p.lost_interval)]
    vertical += [y for p in points for _, y in p.seeds] + [p.lost for p in inside]
    x_scale = Scale(*padded(horizontal), LEFT, WIDTH - RIGHT)
    y_scale = Scale(*padded([*vertical, 0.0]), TOP, HEIGHT - BOTTOM)
    told = "; ".join(
        f"{p.arm.name}: learnt {number(p.learnt)}, lost {number(p.lost)} "
        f"{ends(p.lost_interval)}".rstrip()
        for p in points
    )
    return drawing(
        identity,
        f"{panel.title}: learnt against forgotten",
        told,
        axes(x_scale, y_scale, panel.learnt_label, "lost"),
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y_scale(0), y2=y_scale(0), class_="zero"),
        *(_curve(points, x_scale, y_scale) for points in panel.curves),
        *(_path(points, x_scale, y_scale) for points in panel.paths),
        *(_drawn_point(point, x_scale, y_scale) for point in points),
        *_words(points, x_scale, y_scale),
    )


def _curve(points: Sequence[Point], x_scale: Scale, y_scale: Scale) -> Markup:
    """A line through one arm's points over a sweep."""
    places = [(x_scale(point.learnt), y_scale(point.lost)) for point in points]
    return polyline(places, f"curve {colour_class(points[0].place)}")


def _path(points: Sequence[Point], x_scale: Scale, y_scale: Scale) -> Markup:
    """An arm's way through the last phase: a dot for each checkpoint inside, a line to its end."""
    colour = colour_class(points[0].place)
    places = [(x_scale(point.learnt), y_scale(point.lost)) for point in points]
    dots = [element("circle", cx=x, cy=y, r=2.6, class_=f"mark {colour}") for x, y in places[:-1]]
    return group([polyline(places, f"path {colour}"), *dots])


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


def _words(points: Sequence[Point], x_scale: Scale, y_scale: Scale) -> list[Markup]:
    """What the line at 0 means, and names beside their marks: each where there is room.

    The legend has all names.
    """
    marks = [(x_scale(p.learnt), y_scale(p.lost)) for p in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in marks]
    drawn = []
    for across, down, anchor in _NOTE_PLACES:
        box = _box(_NOTE, across, y_scale(0) + down, anchor)
        if not any(_overlap(box, other) for other in taken):
            taken.append(box)
            place = {"x": across, "y": y_scale(0) + down, "text_anchor": anchor}
            drawn.append(element("text", _NOTE, **place, class_="note"))
            break
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
