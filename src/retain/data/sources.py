"""From the name of a source to its rows, its examples and its identity.

A source is ``embedded:NAME``; a JSONL, JSON, CSV, TSV or Parquet file, or a folder of them; or a
hub id, ``OWNER/NAME`` or ``OWNER/NAME:CONFIG`` (``hub:NAME`` where a file has that name). With
``#1000`` behind it, a sample of a thousand examples.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from retain.data import hub
from retain.data.example import Example
from retain.data.fault import BadRow, Fault, without_faults
from retain.data.files import Row, read_file
from retain.data.fill import Template, fill
from retain.data.formats import convert, other_side, recognise, renamed
from retain.data.places import HUB, files_of
from retain.errors import DataError
from retain.steps.fingerprint import sha256_file

EMBEDDED = "embedded:"
TRAIN = "train"
SPLIT_NAMES = ("train", "training", "validation", "valid", "val", "dev", "test")
NUM_ROWS_TO_RECOGNISE = 20


@dataclass(frozen=True)
class Source:
    """What a recipe, or a command line, says about one source.

    Attributes:
        name: The source without ``#N``.
        split: Only rows of this split. None takes the split ``train`` where there is one, else
            everything.
        format: One of the known formats; None recognises it by the columns.
        sample: Number of examples to draw, by hash: never depends on their order, and a sample of
            1,000 holds the sample of 100. None takes all.
        share: Part of the final mix, 0..1; None takes the source as it is.
        loss_weight: ``by_token``, ``by_example`` or ``match_share``.
        parallel: Column with the same in another language; None leaves pairs alone.
        columns: What the rows call the columns of a format, for those they call otherwise.
        template: New column to text with ``{column}`` in it; None takes rows as they are.
        item_column: Column that says which rows belong together.
    """

    name: str
    split: str | None = None
    format: str | None = None
    sample: int | None = None
    share: float | None = None
    loss_weight: str | None = None
    parallel: str | None = None
    columns: Mapping[str, str] | None = None
    template: Template | None = None
    item_column: str = "item"

    @property
    def label(self) -> str:
        """What examples call it: the name, or of a path its last part, wherever it lies."""
        if self.name.startswith((EMBEDDED, HUB)) or not Path(self.name).expanduser().exists():
            return self.name
        return Path(self.name).expanduser().resolve().name

    @classmethod
    def of(cls, spec: "str | Mapping[str, Any] | Source", item_column: str = "item") -> "Source":
        """From ``NAME``, ``NAME#1000``, or a mapping with ``source`` and this class's fields.

        Raises:
            DataError: If the sample is not a number above 0.

        >>> Source.of("my.jsonl#1000").sample
        1000
        """
        if isinstance(spec, Source):
            return spec
        values: dict[str, Any] = {"source": spec} if isinstance(spec, str) else dict(spec)
        name, found, number = str(values.pop("source")).partition("#")
        if found and not (number.isdecimal() and int(number) > 0):
            raise DataError(f"{name}#{number}: the sample behind # must be a number above 0")
        if found and values.get("sample") is None:
            values["sample"] = int(number)
        return cls(name=name, item_column=item_column, **values)


def identity(source: str | Mapping[str, Any] | Source) -> dict[str, str]:
    """``{label: sha256}`` of the content behind a source, without parsing any of it.

    Labels are file names relative to the source, so that moving the data changes nothing; they end
    with ``#N`` where only a sample is read.

    Raises:
        DataError: If there is nothing there.
        EmbeddedError: If no embedded data has that name.
    """
    source = Source.of(source)
    name = source.name
    if name.startswith(EMBEDDED):
        from retain.embedded import identity as embedded_identity

        found = {name: embedded_identity(_after(name))}
    elif files := files_of(name):
        found = {label: sha256_file(path) for label, path in files}
    else:
        found = hub.identity(_after(name) if name.startswith(HUB) else name)
    sample = "" if source.sample is None else f"#{source.sample}"
    return {f"{label}{sample}": digest for label, digest in found.items()}


def licence(source: str | Mapping[str, Any] | Source) -> str | None:
    """The licence that the table of embedded data states; None for anything else."""
    name = Source.of(source).name
    if not name.startswith(EMBEDDED):
        return None
    from retain.embedded.table import lookup

    return lookup(_after(name)).licence


def embedded_notes(source: str | Mapping[str, Any] | Source) -> list[str]:
    """What a reader of the report must know of embedded data; [] for anything else."""
    name = Source.of(source).name
    if not name.startswith(EMBEDDED):
        return []
    from retain.data.embedded import embedded_facts

    return [str(note) for note in embedded_facts(_after(name))["notes"]]


def rows(source: str | Mapping[str, Any] | Source) -> Iterator[Row | Fault]:
    """Every row of a source and every fault met on the way, in order.

    Raises:
        DataError: If there is nothing there.
        EmbeddedError: If no embedded data has that name, or it cannot be fetched.
    """
    name = Source.of(source).name
    if name.startswith(EMBEDDED):
        from retain.data.embedded import load_embedded

        for number, values in enumerate(load_embedded(_after(name)), start=1):
            choices = values.get("choices", ())
            if len(set(choices)) == len(choices):  # a few items of the published sets have twins
                yield Row(f"{name} row {number}", values)
    elif files := files_of(name):
        for label, path in files:
            yield from read_file(path, label)
    else:
        yield from hub.read_hub(_after(name) if name.startswith(HUB) else name)


@dataclass(frozen=True)
class Found:
    """An example, where it stands, its split and its row's licence ("" where not said)."""

    example: Example
    where: str
    split: str
    licence: str


def read(source: str | Mapping[str, Any] | Source) -> Iterator[Found | Fault]:
    """Every example of every split of a source, and every fault, in order.

    The format is recognised once per file, by its first row that fits one; a file none of whose
    first rows fits is one fault.

    Raises:
        DataError: If there is nothing there, or the format asked for does not exist.
    """
    source = Source.of(source)
    if source.format is not None:
        recognise((), source.format)
    reader = _FileReader(source, "")
    for row in rows(source):
        if isinstance(row, Fault):
            yield row
            continue
        if row.file != reader.file:
            yield from reader.end()
            reader = _FileReader(source, row.file)
        yield from reader.take(row)
    yield from reader.end()


@dataclass
class _FileReader:
    """Turns the rows of one file into examples, once its format is known."""

    source: Source
    file: str
    format: str | None = None
    waiting: list[Row] = field(default_factory=list)
    why: str = ""

    def __post_init__(self) -> None:
        self.label = self.source.label
        stem = Path(self.file).stem.lower()
        self.file_split = stem if stem in SPLIT_NAMES else ""

    def take(self, row: Row) -> Iterator[Found | Fault]:
        try:
            row = replace(row, values=self._shaped(row.values))
        except BadRow as error:
            yield Fault(row.where, error.kind, error.text)
            return
        if self.format is None:
            if len(self.waiting) == NUM_ROWS_TO_RECOGNISE:
                return
            self.waiting.append(row)
            try:
                self.format = recognise(row.values, self.source.format)
            except DataError as error:
                self.why = self.why or str(error)
                return
            ready, self.waiting = self.waiting, []
        else:
            ready = [row]
        for one in ready:
            yield self._convert(one, self.format)

    def _shaped(self, values: dict[str, Any]) -> dict[str, Any]:
        """The row with columns of our names, or as a template makes it."""
        if self.source.columns:
            values = renamed(values, self.source.columns)
        if self.source.template:
            values = fill(self.source.template, values, self.source.item_column)
        return values

    def end(self) -> Iterator[Fault]:
        if self.waiting:
            yield Fault(self.waiting[0].where, "unknown format", self.why)

    def _convert(self, row: Row, format: str) -> Found | Fault:
        try:
            example = convert(row.values, format, self.label, self.source.item_column)
            if (column := self.source.parallel) is not None:
                example = replace(example, parallel=other_side(row.values, column, example))
        except BadRow as error:
            return Fault(row.where, error.kind, error.text)
        split = row.values.get("split")
        if not isinstance(split, str):
            split = self.file_split
        stated = row.values.get("license") or row.values.get("licence")
        return Found(example, row.where, split, str(stated) if stated else "")


# ---------------------------------------------------------------- loading for a run


@dataclass
class Loaded:
    """The examples of one source, in the source's order, each content once.

    Attributes:
        examples: What a run uses.
        num_read: Rows of the chosen split.
        num_duplicates: Rows left out because an earlier one has the same content.
        splits: Rows of each split the source has; "" where rows name none.
        licences: The licences that rows, or the table of embedded data, state.
        split: The split that was taken; "" for everything.
    """

    examples: list[Example]
    num_read: int
    num_duplicates: int
    splits: dict[str, int]
    licences: list[str]
    split: str


@dataclass
class _Kept:
    """The examples of one split so far: all, or the ``sample`` smallest by hash."""

    sample: int | None
    num_read: int = 0
    seen: set[str] = field(default_factory=set)
    heap: list[tuple[int, int, Example]] = field(default_factory=list)

    def add(self, example: Example) -> None:
        self.num_read += 1
        if example.id in self.seen:
            return
        self.seen.add(example.id)
        entry = (-_rank("sample", example.id), self.num_read, example)
        if self.sample is None:
            self.heap.append(entry)
        elif len(self.heap) < self.sample:
            heapq.heappush(self.heap, entry)
        else:
            heapq.heappushpop(self.heap, entry)

    def examples(self) -> list[Example]:
        return [example for _, _, example in sorted(self.heap, key=lambda entry: entry[1])]


def load(source: str | Mapping[str, Any] | Source) -> Loaded:
    """The examples of a source, ready for a run.

    Args:
        source: What to load; its ``split`` and ``sample`` are applied.

    Raises:
        DataError: If anything in it is broken (the first 20 faults are listed), it is empty, the
            split is not there, or the sample is larger than the data.
    """
    source = Source.of(source)
    by_split: dict[str, _Kept] = {}
    licences = {licence(source) or ""}
    for found in without_faults(read(source), source.name):
        by_split.setdefault(found.split, _Kept(source.sample)).add(found.example)
        licences.add(found.licence)
    if not by_split:
        raise DataError(f"{source.name}: no rows at all; a source needs at least one example")
    split = _chosen_split(source, by_split)
    kept = by_split[split] if split else _union(by_split, source.sample)
    if source.sample is not None and source.sample > len(kept.seen):
        raise DataError(
            f"{source.name}#{source.sample}: asked for {source.sample} examples, "
            f"there are {len(kept.seen)} different ones; ask for fewer or leave #N out"
        )
    return Loaded(
        examples=kept.examples(),
        num_read=kept.num_read,
        num_duplicates=kept.num_read - len(kept.seen),
        splits={name: one.num_read for name, one in by_split.items()},
        licences=sorted(licences - {""}),
        split=split,
    )


def _chosen_split(source: Source, by_split: dict[str, _Kept]) -> str:
    """The split to take; "" for all rows."""
    if source.split is None:
        return TRAIN if TRAIN in by_split else ""
    if source.split in by_split:
        return source.split
    there = ", ".join(sorted(name for name in by_split if name)) or "no row names its split"
    raise DataError(f"{source.name}: no split '{source.split}'. There: {there}.")


def _union(by_split: dict[str, _Kept], sample: int | None) -> _Kept:
    if len(by_split) == 1:
        return next(iter(by_split.values()))
    union = _Kept(sample)
    for kept in by_split.values():
        for example in kept.examples():
            union.add(example)
    union.num_read = sum(kept.num_read for kept in by_split.values())
    union.seen = set().union(*(kept.seen for kept in by_split.values()))
    return union


def _after(name: str) -> str:
    return name.partition(":")[2]


def _rank(purpose: str, key: str) -> int:
    """A number that looks random and depends on nothing but the two."""
    return int.from_bytes(sha256(f"{purpose}:{key}".encode()).digest()[:8], "big")
