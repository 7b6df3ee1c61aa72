"""A map of all attention heads, layers upwards and heads to the right, as inline SVG.

Cells of one colour are one path, so that a model of a thousand heads takes a few kilobytes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

from retain.report.axes import WIDTH, drawing
from retain.report.svg import element
from retain.report.text import number

Map = Sequence[Sequence[float | None]]

NUM_TONES = 3
_LEFT, _RIGHT, _TOP, _FLOOR = 46, 8, 4, 34
_MOST_HEIGHT = 330


class HeadMap(NamedTuple):
    """One map.

    Attributes:
        title: For the accessible name.
        values: By layer and head; None where the layer says nothing.
        marked: Whether each is beyond chance; a dot.
        scale: The figure that gets the full colour.
    """

    title: str
    values: Map
    marked: Sequence[Sequence[bool]]
    scale: float


def tone(value: float, scale: float) -> int:
    """-3..3: the colour of a figure; 0 within a seventh of the scale.

    >>> [tone(value, 0.7) for value in (-0.7, -0.2, 0.05, 0.11, 0.5, 9.0)]
    [-3, -1, 0, 1, 2, 3]
    """
    if not scale:
        return 0
    steps = round(abs(value) / scale * (NUM_TONES + 0.5))
    return min(steps, NUM_TONES) * (1 if value > 0 else -1)


def head_map(drawn: HeadMap, identity: str) -> Markup:
    """The drawing, with layer and head numbers on its sides."""
    num_layers = len(drawn.values)
    num_heads = max((len(row) for row in drawn.values), default=1)
    width = (WIDTH - _LEFT - _RIGHT) / num_heads
    height = min(14.0, _MOST_HEIGHT / max(num_layers, 1))
    bottom = _TOP + height * num_layers
    by_tone: dict[int, list[str]] = {}
    dots = []
    for layer, head, value in _cells(drawn.values):
        x, y = _LEFT + width * head, bottom - height * (layer + 1)
        if shade := tone(value, drawn.scale):
            by_tone.setdefault(shade, []).append(
                f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z"
            )
        if drawn.marked[layer][head]:
            dots.append(f"M{x + width / 2 - 1.5:.1f} {y + height / 2:.1f}h3")
    frame = element("rect", x=_LEFT, y=_TOP, width=WIDTH - _LEFT - _RIGHT, height=bottom - _TOP,
                    class_="still")  # fmt: skip
    shapes = [
        element("path", d="".join(path), class_=f"{'gain' if shade > 0 else 'loss'}-{abs(shade)}")
        for shade, path in sorted(by_tone.items())
    ]
    if dots:
        shapes.append(element("path", d="".join(dots), class_="dots"))
    return drawing(
        identity,
        drawn.title,
        told(drawn),
        *shapes,
        frame,
        *_numbers(num_layers, num_heads, (width, height), bottom),
        height=bottom + _FLOOR,
        class_="plot heads",
    )


def told(drawn: HeadMap) -> str:
    """The map in words: its strongest heads each way, and how many are beyond chance."""
    ranked = sorted((value, layer, head) for layer, head, value in _cells(drawn.values))
    marked = sum(sum(row) for row in drawn.marked)
    if not ranked:
        return "no figure"
    low, high = ranked[0], ranked[-1]
    ends = " to ".join(
        f"{number(v)} at layer {layer} head {head}" for v, layer, head in (low, high)
    )
    return f"{ends}; {marked} of {len(ranked)} heads beyond chance"


def _cells(values: Map) -> Iterator[tuple[int, int, float]]:
    for layer, row in enumerate(values):
        for head, value in enumerate(row):
            if value is not None:
                yield layer, head, value


def _numbers(
    num_layers: int, num_heads: int, cell: tuple[float, float], bottom: float
) -> Iterator[Markup]:
    width, height = cell
    for layer in {0, num_layers - 1}:
        y = bottom - height * (layer + 0.5) + 4
        yield element("text", str(layer), x=_LEFT - 6, y=y, text_anchor="end", class_="tick")
    for head in {0, num_heads - 1}:
        x = _LEFT + width * (head + 0.5)
        yield element("text", str(head), x=x, y=bottom + 14, text_anchor="middle", class_="tick")
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    yield element("text", "head", x=middle, y=bottom + 28, text_anchor="middle", class_="axis")
    y = (_TOP + bottom) / 2
    turned = f"rotate(-90 12 {y:.0f})"
    yield element("text", "layer", x=12, y=y, text_anchor="middle", transform=turned, class_="axis")
