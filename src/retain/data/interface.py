"""Sets made of interface strings and their English: pairs, documents, choices, programs.

All of them part the strings alike, by clusters of near-duplicates, so that what one set trains on
is never what another asks.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

Row = dict[str, Any]

SPLITS = ("translation",) * 4 + ("bilingual",) * 3 + ("instructions",) * 2 + ("test",)
"""Which tenth of the clusters belongs to which split."""
HALVES = {"translation": "first", "bilingual": "second", "instructions": "second"}
"""What a classifying set calls the splits; the rest is for tests alone."""
DOCUMENT_STRINGS = 6
NUM_CHOICES = 4
MAX_LENGTH_DIFFERENCE = 0.2  # of the right choice's, in characters
MAX_SHARED_WORDS = 0.34  # of the right choice's: more could be right too
NUM_PROGRAMS = 6
FOREIGN = re.compile(r"[A-Za-z0-9%$@#{}<>\\/|_=+*\u0966-\u096f]")
"""Latin letters, numbers and placeholders, which would give a choice away."""
ASK_TRANSLATION = "Which is the Nepali of this message?"
ASK_MEANING = "यो शब्दको अर्थ कुन हो?"


def clustered(rows: Sequence[Row]) -> list[Row]:
    """The rows with their cluster as ``item`` and a ``split`` that follows from it.

    Two strings are near-duplicates if either side has the same letters, whatever its case,
    numbers, placeholders and punctuation; clusters are what such pairs connect.
    """
    owner: dict[str, int] = {}
    parent = list(range(len(rows)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for place, row in enumerate(rows):
        for side in ("english", "text"):
            letters = side + _letters(row[side])
            first = owner.setdefault(letters, place)
            parent[max(root(first), root(place))] = min(root(first), root(place))
    names: dict[int, str] = {}
    for place, row in enumerate(rows):
        name = _digest(_letters(row["english"]))
        names[root(place)] = min(names.get(root(place), name), name)
    made = []
    for place, row in enumerate(rows):
        item = names[root(place)]
        made.append(row | {"item": item, "split": SPLITS[int(item, 16) % len(SPLITS)]})
    return made


def pairs(rows: Sequence[Row]) -> Iterator[Row]:
    """``text`` and ``english``, by cluster."""
    yield from clustered(rows)


def documents(rows: Sequence[Row]) -> Iterator[Row]:
    """Strings of one program end to end, Nepali and English in turns; each stands there once."""
    by_program: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in clustered(rows):
        if row["split"] == "bilingual":
            by_program[row["program"]].setdefault(row["item"], row)
    for program in sorted(by_program):
        ordered = [by_program[program][item] for item in sorted(by_program[program])]
        for start in range(0, len(ordered), DOCUMENT_STRINGS):
            group = ordered[start : start + DOCUMENT_STRINGS]
            sides = ("text", "english") * DOCUMENT_STRINGS
            lines = [row[side] for row, side in zip(group, sides, strict=False)]
            yield {"text": "\n".join(lines), "item": group[0]["item"], "program": program}


def choices(rows: Sequence[Row]) -> Iterator[Row]:
    """An English message and four strings of the same program, one of which is its translation.

    Only strings of Devanagari and punctuation alone; of like length; with few words in common. An
    item for which three such distractors are not there is left out.
    """
    by_program: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in clustered(rows):
        if row["split"] == "test" and not FOREIGN.search(row["text"]):
            by_program[row["program"]].setdefault(row["item"], row)
    for program in sorted(by_program):
        beside = list(by_program[program].values())
        for row in sorted(beside, key=lambda one: one["item"]):
            question = f"{ASK_TRANSLATION}\n\n{row['english']}"
            if made := _four(question, row["text"], [one["text"] for one in beside]):
                yield made | {"item": row["item"], "program": program}


def programs(side: str) -> Callable[[Sequence[Row]], Iterator[Row]]:
    """Which of six programs a string is from, asked in one language; classes in turns."""

    def made(rows: Sequence[Row]) -> Iterator[Row]:
        owners: dict[str, set[str]] = defaultdict(set)
        first: dict[str, Row] = {}
        for row in clustered(rows):
            owners[row["item"]].add(row["program"])
            first.setdefault(row["item"], row)
        by_program: dict[str, list[Row]] = defaultdict(list)
        for item in sorted(first):
            if len(owners[item]) == 1:
                by_program[first[item]["program"]].append(first[item])
        kept = sorted(by_program, key=lambda name: (-len(by_program[name]), name))[:NUM_PROGRAMS]
        names = sorted(kept)
        instruction = f"Programs: {', '.join(names)}.\nWhich program is this message from?"
        for turn in zip(*(by_program[name] for name in names), strict=False):
            for answer, row in enumerate(turn):
                yield {
                    "question": f"{instruction}\n\n{row[side]}",
                    "choices": names,
                    "answer": answer,
                    "label": names[answer],
                    "item": row["item"],
                    "split": HALVES.get(row["split"], "test"),
                }

    return made


def definitions(content: bytes) -> Iterator[Row]:
    """Words and their meanings in a MyThes dictionary: one row a meaning.

    Source: MyThes data layout (Hunspell project): the encoding, then for each word ``word|n`` and
    n lines ``(part of speech)|meaning|...``.
    """
    lines = iter(content.decode("utf-8").splitlines()[1:])
    for line in lines:
        word, _, number = line.partition("|")
        for _ in range(int(number) if number.isdecimal() else 0):
            for meaning in next(lines, "").split("|")[1:]:
                if meaning.strip() and meaning.strip() != word:
                    text = f"{word.strip()}: {meaning.strip()}"
                    yield {"text": text, "word": word.strip(), "meaning": meaning.strip(),
                           "item": _digest(word.strip())}  # fmt: skip


def meanings(rows: Sequence[Row]) -> Iterator[Row]:
    """A word and four meanings of like length, one of which is its own."""
    first: dict[str, Row] = {}
    for row in rows:
        if len(row["meaning"]) >= 15 and not FOREIGN.search(row["meaning"]):
            first.setdefault(row["item"], row)
    ordered = [first[item] for item in sorted(first)]
    ordered.sort(key=lambda row: len(row["meaning"]))
    for place, row in enumerate(ordered):
        near = [one["meaning"] for one in ordered[max(0, place - 25) : place + 25]]
        if made := _four(f"{ASK_MEANING}\n\n{row['word']}", row["meaning"], near):
            yield made | {"item": row["item"]}


SHAPES: Mapping[str, Callable[[Sequence[Row]], Iterable[Row]]] = {
    "interface_pairs": pairs,
    "interface_documents": documents,
    "interface_choices": choices,
    "interface_programs_english": programs("english"),
    "interface_programs_nepali": programs("text"),
    "dictionary_choices": meanings,
}
"""What is made of all rows of an entry, by its reader."""


def _four(question: str, right: str, others: Iterable[str]) -> Row | None:
    """A question with the right choice among three distractors, in an order by hash."""
    words = set(right.split())
    fit = {
        other
        for other in others
        if other != right
        and abs(len(other) - len(right)) <= MAX_LENGTH_DIFFERENCE * len(right)
        and len(words & set(other.split())) <= MAX_SHARED_WORDS * len(words)
    }
    if len(fit) < NUM_CHOICES - 1:
        return None
    distractors = sorted(fit, key=lambda other: _digest(question + other))[: NUM_CHOICES - 1]
    shown = sorted([right, *distractors], key=lambda choice: _digest(choice + question))
    return {"question": question, "choices": shown, "answer": shown.index(right)}


def _letters(text: str) -> str:
    """Letters alone, in one case; marks of Devanagari are letters here.

    >>> _letters("Open %s (2)")
    'open'
    """
    plain = re.sub(r"%[-\w().]*|\{\w*\}|\$\w+", "", text)
    return re.sub(r"[^\w\u0900-\u0963]|[\d_]", "", plain.casefold()) or text


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
