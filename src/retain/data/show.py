"""An example as the model sees it, in stretches that are trained or not."""

import re
from dataclasses import dataclass
from typing import Any

from retain.data.example import Example
from retain.data.pairs import render_pairs
from retain.data.render import Objective, Tokens, render

# C0 without tab and line end, DEL, C1, and the characters that reverse or hide text
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Segment:
    """A stretch of text all of whose tokens are trained, or none.

    Attributes:
        text: Safe to print: without control characters.
        trained: Whether its loss counts.
        num_tokens: Its length.
    """

    text: str
    trained: bool
    num_tokens: int


def segments(
    example: Example,
    tokenizer: Any,
    objective: Objective = "sft",
    max_length: int | None = None,
    *,
    has_encoder: bool = False,
) -> list[Segment]:
    """The rendered example in order; special tokens are shown as they are written.

    Where an encoder reads, its part and the decoder's follow each other, turn after turn.

    Raises:
        DataError: If the chat template refuses or hides a turn.
    """
    if has_encoder:
        pairs = render_pairs(example, tokenizer, max_length)
        return [segment for pair in pairs for segment in segments_of(pair, tokenizer)]
    return segments_of(render(example, tokenizer, objective, max_length), tokenizer)


def segments_of(tokens: Tokens, tokenizer: Any) -> list[Segment]:
    """The same for a sequence that is rendered already."""
    found: list[Segment] = []
    start = 0
    for end in range(1, len(tokens.trained) + 1):
        if end == len(tokens.trained) or tokens.trained[end] != tokens.trained[start]:
            text = tokenizer.decode(tokens.input_ids[start:end], clean_up_tokenization_spaces=False)
            found.append(Segment(printable(text), tokens.trained[start], end - start))
            start = end
    return found


def printable(text: str) -> str:
    r"""The text without characters that steer a terminal or hide what is written.

    >>> printable("a\x1b[31mb\u202ec")
    'a[31mbc'
    """
    return CONTROL.sub("", text)
