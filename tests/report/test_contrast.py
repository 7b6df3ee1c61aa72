"""The palette can be read: contrast by WCAG 2.2, from the style sheet, light, dark and print."""

import re
from importlib import resources

import pytest

CSS = (resources.files("retain.report") / "templates" / "style.css").read_text("utf-8")
TEXT = 4.5
"""Least contrast of text of ordinary size (WCAG 2.2, 1.4.3)."""
SHAPE = 3.0
"""Of marks and lines that carry meaning (1.4.11)."""


def palettes():
    """Name to colours: what ``:root`` gives by itself, in the dark, and on paper."""
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    read = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", block)) for block in blocks]
    assert len(read) == 3
    return {"light": read[0], "dark": read[0] | read[1], "print": read[0] | read[2]}


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_black_on_white_is_twenty_one():
    assert contrast("#000000", "#fff") == pytest.approx(21)


@pytest.mark.parametrize("name", ["light", "dark", "print"])
def test_text_can_be_read_on_every_ground(name):
    colours = palettes()[name]
    arms = [colour for colour in colours if colour.startswith("arm-")]
    for ground in ("page", "card"):
        for text in ("ink", "soft", "accent", "bad", *arms):
            assert contrast(colours[text], colours[ground]) >= TEXT, (text, ground)
    for tone in (colour for colour in colours if colour.startswith(("loss-", "gain-"))):
        assert contrast(colours["ink"], colours[tone]) >= TEXT, tone
    for arm in arms:
        assert contrast(colours[arm], colours["card"]) >= SHAPE
