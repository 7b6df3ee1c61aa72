"""The journal of a run: one JSON line an event, kept whatever happens to the process."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from retain.errors import StoreError
from retain.steps.durable import append, writing
from retain.steps.fingerprint import Json

DURABLE = frozenset(
    {
        "run started",
        "run finished",
        "step started",
        "step finished",
        "step reused",
        "step failed",
        "step interrupted",
        "step damaged",
        "worker lost",
        "leftover removed",
    }
)
"""Kinds of events that are forced to the disk before the work goes on."""


class Journal:
    """Appends events to ``journal.jsonl``; each line is written in one piece.

    Args:
        path: The file; it and its folder are created with the first event.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def event(self, kind: str, /, **fields: Json) -> None:
        """Append one line; those of ``DURABLE`` kinds are fsynced.

        Args:
            kind: What happened, such as ``step started`` or ``train``.
            fields: JSON values; NaN and infinities are written as the strings ``nan``, ``inf``.

        Raises:
            StoreError: If the disk is full or the place is not writable.
        """
        self.events([(kind, fields)])

    def events(self, found: Iterable[tuple[str, Mapping[str, Json]]]) -> None:
        """Append a line for each kind and its fields, in one piece: one fsync for all.

        Raises:
            StoreError: As ``event``.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines, sync = [], False
        for kind, fields in found:
            line = {"time": time, "event": kind, **_finite(dict(fields))}
            lines.append(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            sync = sync or kind in DURABLE
        if lines:
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                append(self.path, "".join(lines).encode(), sync=sync)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All events, oldest first; none if there is no journal yet.

    A line torn by a kill comes out as ``{"event": "torn line", "line": number}``, never as nothing.

    Raises:
        StoreError: If the file is there and cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    lines = content.split(b"\n")
    return [_parse(line, number) for number, line in enumerate(lines, start=1) if line]


def _parse(line: bytes, number: int) -> dict[str, Any]:
    torn = {"event": "torn line", "line": number}
    try:
        event = json.loads(line)
    except ValueError:
        return torn
    return event if isinstance(event, dict) and "event" in event else torn


def _finite(value: Json) -> Json:
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
