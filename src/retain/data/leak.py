"""Whether what is trained on is also what is asked: exact copies, but for case and white space."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from retain.data.example import Example, last_assistant
from retain.errors import DataError

MIN_PROMPT_CHARACTERS = 40  # a shorter prompt ("Translate:") says nothing about its answer
NUM_SHOWN = 5


@dataclass(frozen=True)
class Overlap:
    """One text that stands on both sides.

    Attributes:
        train: Where in the training data.
        item: Which evaluated item.
        text: The text, cut at 200 characters.
    """

    train: str
    item: str
    text: str


def texts(example: Example) -> list[str]:
    """What would give an example away: all of it, and its prompt when that is long enough.

    The prompt is what the user says last before the last answer.
    """
    whole = "\n".join(example.contents)
    if example.messages is None:
        return [whole]
    asked = example.messages[: last_assistant(example.messages)]
    prompt = next((m["content"] for m in reversed(asked) if m["role"] == "user"), "")
    return [whole, prompt] if len(normalise(prompt)) >= MIN_PROMPT_CHARACTERS else [whole]


def normalise(text: str) -> str:
    """The text in one case, with single spaces and compatible characters made equal.

    >>> normalise("  The  Cat" + chr(10) + "sat ")
    'the cat sat'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def key(text: str) -> bytes:
    """16 bytes that are equal for texts that differ in case and white space only."""
    return blake2b(normalise(text).encode(), digest_size=16).digest()


def find(
    train_texts: Iterable[tuple[str, str]], item_texts: Iterable[tuple[str, str]]
) -> list[Overlap]:
    """Every evaluated text that is also trained on; in the order of the items.

    Args:
        train_texts: (where, text) of all training data: new, replayed and rehearsed.
        item_texts: (which item, text) of all evaluated items.

    Returns:
        One overlap per item text, naming the first place it stands in the training data.
    """
    items = list(item_texts)
    wanted = {key(text) for _, text in items if text.strip()}
    where: dict[bytes, str] = {}
    for place, text in train_texts:
        digest = key(text)
        if digest in wanted:
            where.setdefault(digest, place)
    found = ((where.get(key(text)), item, text) for item, text in items)
    return [Overlap(place, item, text[:200]) for place, item, text in found if place is not None]


def refuse(overlaps: list[Overlap], data: str, *, may_be_allowed: bool = True) -> None:
    """Stop the run if anything was found.

    Args:
        overlaps: What ``find`` gave.
        data: Whose training data it is: a phase, or the name of a stand-in.
        may_be_allowed: Whether the recipe has a switch for it (a phase has).

    Raises:
        DataError: With the number of overlaps, the first five, and how to allow them.
    """
    if not overlaps:
        return
    shown = "\n".join(
        f"  {one.train} is {one.item}: {one.text[:80]!r}" for one in overlaps[:NUM_SHOWN]
    )
    raise DataError(
        f"{data}: {len(overlaps)} evaluated texts are in the training data:\n{shown}\n"
        "Take them out of the data"
        + (", or set `allow_overlap: true` if that is intended." if may_be_allowed else ".")
    )
