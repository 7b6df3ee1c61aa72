"""What all drawings of the page share: size, axes, colours and marks of arms.

Colours come from the page's style sheet by class, so that light, dark and print share one drawing.
"""

from markupsafe import Markup

from retain.report.results import Arm
from retain.report.svg import Scale, element, marker, tick_labels, ticks

NUM_COLOURS = 8
"""Colours of the style sheet; further arms begin again."""

WIDTH, HEIGHT = 380, 290
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 14, 42


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


def drawing(
    identity: str,
    title: str,
    told: str,
    *content: Markup,
    height: float = HEIGHT,
    class_: str = "plot",
) -> Markup:
    """A drawing with what a screen reader says of it.

    Args:
        identity: Of the element, one on the page.
        title: What it is called.
        told: The same figures in words.
        content: What is drawn.
        height: In units of its width, ``WIDTH``.
        class_: Of the style sheet.
    """
    return element(
        "svg",
        element("title", title, id=f"{identity}-title"),
        element("desc", told, id=f"{identity}-told"),
        *content,
        viewBox=f"0 0 {WIDTH} {height:g}",
        role="img",
        aria_labelledby=f"{identity}-title {identity}-told",
        class_=class_,
    )


def axes(x_scale: Scale, y_scale: Scale, x_label: str, y_label: str) -> Markup:
    """Grid, ticks and labels."""
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
