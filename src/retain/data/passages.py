"""Running text cut into passages, and sample texts picked out of a file of language facts."""

import re
from collections.abc import Iterator
from typing import Any

MIN_PASSAGE, MAX_PASSAGE = 1_000, 2_000
"""Characters of a passage."""
MIN_SAMPLE = 20
"""Characters: shorter samples are headings."""
SENTENCE_END = re.compile(r"(?<=[।?!|])\s+|(?<=[।?!|]['\"\u201d])\s+")
SAMPLE = re.compile(r'^\s+specimen_\d+: "((?:[^"\\]|\\.)*)"', re.MULTILINE)


def passages(text: str) -> Iterator[dict[str, Any]]:
    """Rows of whole sentences, in the order of the text, which they give back when joined.

    Lines are joined: the line breaks of a scanned page are not the author's. A passage ends with
    the first sentence that brings it to ``MIN_PASSAGE``; one that a sentence would take beyond
    ``MAX_PASSAGE`` is cut between words. What is left at the end joins the last passage.

    >>> [len(row["text"]) for row in passages("एक दिन की बात है। " * 130)]
    [1007, 1331]
    """
    for passage in _passages(text):
        yield {"text": passage}


def samples(text: str) -> list[str]:
    """Distinct paragraphs of a language's sample texts; a beginning of another one is left out."""
    fields = [_unescape(match) for match in SAMPLE.findall(text)]
    found = [part.strip() for field in fields for part in field.split("\n")]
    distinct = list(dict.fromkeys(part for part in found if len(part) >= MIN_SAMPLE))
    return [part for part in distinct if not any(_begins(part, other) for other in distinct)]


def _passages(text: str) -> list[str]:
    joined = " ".join(text.split())
    done: list[str] = []
    current = ""
    for sentence in _pieces(joined):
        current = f"{current} {sentence}".strip()
        if len(current) >= MIN_PASSAGE:
            done.append(current)
            current = ""
    if current:
        done[-1:] = [" ".join([*done[-1:], current])]
    return done


def _pieces(text: str) -> Iterator[str]:
    """Sentences; one too long for a passage in parts of whole words."""
    for sentence in SENTENCE_END.split(text):
        words = sentence.split(" ")
        part = ""
        for word in words:
            if part and len(part) + 1 + len(word) > MAX_PASSAGE - MIN_PASSAGE:
                yield part
                part = word
            else:
                part = f"{part} {word}".strip()
        if part:
            yield part


def _begins(part: str, other: str) -> bool:
    return part != other and other.startswith(part.rstrip(".,;।"))


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)
