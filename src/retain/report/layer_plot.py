"""A figure of every layer, from input to output, one line per arm."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from retain.report.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, axes, colour_class, drawing
from retain.report.svg import Scale, padded, polyline
from retain.report.text import number


class LayerLine(NamedTuple):
    """One arm's figures by layer; None where there is none. ``place`` chooses the colour."""

    name: str
    place: int
    values: Sequence[float | None]


def layer_plot(lines: Sequence[LayerLine], title: str, identity: str) -> Markup:
    """Layers from left (input) to right, the figure upwards."""
    values = [value for line in lines for value in line.values if value is not None]
    num_layers = max((len(line.values) for line in lines), default=1)
    x_scale = Scale(0, max(num_layers - 1, 1), LEFT, WIDTH - RIGHT)
    y_scale = Scale(*padded(values), HEIGHT - BOTTOM, TOP)
    drawn = []
    for line in lines:
        points = [
            (x_scale(layer), y_scale(value))
            for layer, value in enumerate(line.values)
            if value is not None
        ]
        if points:
            drawn.append(polyline(points, f"line {colour_class(line.place)}"))
    return drawing(
        identity,
        title,
        "; ".join(map(_told, lines)),
        axes(x_scale, y_scale, "layer, from the input", ""),
        *drawn,
    )


def _told(line: LayerLine) -> str:
    known = [(value, layer) for layer, value in enumerate(line.values) if value is not None]
    if not known:
        return f"{line.name}: no figure"
    (low, at_low), (high, at_high) = min(known), max(known)
    return f"{line.name}: {number(low)} at layer {at_low} to {number(high)} at layer {at_high}"
