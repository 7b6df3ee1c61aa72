"""What the store holds, as a list for people: sizes, ages, costs, faults."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retain.steps import manifest
from retain.steps.record import RECORD
from retain.steps.step import KIND, NUM_FOLDER_DIGITS

MIN_DIGITS = 4


@dataclass(frozen=True)
class Entry:
    """A folder of the store, as ``retain list`` shows it.

    Attributes:
        folder: ``kind/name-<16 hex>``.
        kind: Kind of step.
        record: Content of ``record.json``; empty when that is damaged.
        bytes: Size of its files.
        faults: What presence and sizes alone show to be wrong.
    """

    folder: str
    kind: str
    record: dict[str, Any]
    bytes: int
    faults: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """What computing it took, and would take again."""
        return float(self.record.get("seconds", 0.0))

    @property
    def fingerprint(self) -> str:
        """64 hex digits, or the 16 of the folder's name when the record is damaged."""
        described = self.record.get("step", {})
        return str(described.get("fingerprint", self.folder[-NUM_FOLDER_DIGITS:]))


def read_entries(root: Path) -> list[Entry]:
    """All folders of a store by kind and name, faulty ones included; reads no artefacts."""
    return [
        _entry(folder)
        for kind in sorted(root.glob("*"))
        if KIND.fullmatch(kind.name) and kind.is_dir()
        for folder in sorted(kind.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    ]


def matching(entries: Iterable[Entry], text: str) -> list[Entry]:
    """The entries a person means by a folder, the start of a name, or at least 4 hex digits."""
    wanted = text.strip("/")
    return [
        entry
        for entry in entries
        if entry.folder.startswith(wanted)
        or entry.folder.partition("/")[2].startswith(wanted)
        or (len(wanted) >= MIN_DIGITS and entry.fingerprint.startswith(wanted))
    ]


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _entry(folder: Path) -> Entry:
    faults = manifest.quick_faults(folder)
    record: Any = None
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        faults = faults or [f"{RECORD} cannot be read"]
    return Entry(
        folder=f"{folder.parent.name}/{folder.name}",
        kind=folder.parent.name,
        record=record if isinstance(record, dict) else {},
        bytes=folder_bytes(folder),
        faults=tuple(faults),
    )
