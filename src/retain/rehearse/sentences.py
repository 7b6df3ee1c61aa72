"""Texts that end where a sentence does."""

import re

WIDE = "\u3002\uff01\uff1f"  # of Chinese and Japanese; no space follows them
CLOSING = "\"'\u201d\u2019\u00bb)\\]*_"
END = re.compile(rf"(?<!\d)[.!?\u2026\u0964\u0965]+[{CLOSING}]*(?=\s|$)|[{WIDE}]+[{CLOSING}]*")
"""Also the Devanagari danda."""


def whole_sentences(text: str) -> str:
    r"""The text up to the end of its last whole sentence; "" if there is none.

    The dot behind a list's number ends no sentence.

    >>> whole_sentences("A cat sat. It was hungry! So it w")
    'A cat sat. It was hungry!'
    >>> whole_sentences("There are two:\n1.")
    ''
    """
    ends = [match.end() for match in END.finditer(text)]
    return text[: ends[-1]] if ends else ""
