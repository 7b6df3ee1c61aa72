"""Small building blocks of inline SVG: elements with everything escaped, scales and ticks."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from retain.report.text import number, visible


def element(name: str, *children: str, **attributes: object) -> Markup:
    """An element; text is escaped, `Markup` is not, ``class_`` and ``text_anchor`` lose a ``_``.

    >>> str(element("text", "a < b", x=1.25, text_anchor="end"))
    '<text x="1.25" text-anchor="end">a &lt; b</text>'
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _attribute(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, group(children))


def group(children: Iterable[str]) -> Markup:
    """Children one after the other, those that are plain text made harmless."""
    return Markup("").join(
        child if isinstance(child, Markup) else escape(visible(child)) for child in children
    )


@dataclass(frozen=True)
class Scale:
    """A straight line from figures to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a figure is drawn; figures beyond the ends are drawn at the ends."""
        inside = min(max(value, self.low), self.high)
        return self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start)


def padded(values: Sequence[float], *, least: float = 5e-3) -> tuple[float, float]:
    """A range around the finite ones of these figures, with 6 % to spare on each side.

    >>> padded([0.0, 1.0, math.nan])
    (-0.06, 1.06)
    """
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    spare = max(0.06 * (high - low), least)
    return low - spare, high + spare


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About ``wanted`` round figures between two ends.

    >>> [round(tick, 3) for tick in ticks(-0.06, 1.06)]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def tick_labels(places: Sequence[float]) -> list[str]:
    """The ticks as text, with the fewest decimals that tell them apart.

    >>> tick_labels([0.0, 0.25, 0.5])
    ['0.00', '0.25', '0.50']
    """
    for digits in range(6):
        if all(abs(round(place, digits) - place) < 1e-9 for place in places):
            return [number(place, digits) for place in places]
    return [f"{place:.1e}" for place in places]


def marker(kind: str, x: float, y: float, size: float, class_: str) -> Markup:
    """A mark around (x, y): circle for plain training, square for a remedy, diamond for joint."""
    if kind == "circle":
        return element("circle", cx=x, cy=y, r=size, class_=class_)
    if kind == "square":
        side = 1.8 * size
        return element(
            "rect", x=x - side / 2, y=y - side / 2, width=side, height=side, class_=class_
        )
    tip = 1.35 * size
    corners = ((x, y - tip), (x + tip, y), (x, y + tip), (x - tip, y))
    return element("polygon", points=_points(corners), class_=class_)


def polyline(points: Iterable[tuple[float, float]], class_: str) -> Markup:
    """An open line through these points."""
    return element("polyline", points=_points(points), class_=class_)


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _attribute(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else visible(str(value))
