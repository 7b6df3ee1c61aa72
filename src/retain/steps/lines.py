"""Files of JSON lines that are only ever added to, and survive a kill at any byte."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from retain.steps.durable import append


def whole_lines(path: Path) -> Iterator[Any]:
    """The lines of a file up to the first that is torn, which is cut off with all behind it."""
    if not path.exists():
        return
    content = path.read_bytes()
    good = 0
    for line in content.splitlines(keepends=True):
        try:
            value = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            value = None
        if value is None:
            break
        good += len(line)
        yield value
    if good < len(content):
        with path.open("r+b") as stream:
            stream.truncate(good)


def add_lines(path: Path, values: Iterable[Any]) -> None:
    """Add lines in one piece and force them to the disk."""
    append(path, "".join(json.dumps(value) + "\n" for value in values).encode())
