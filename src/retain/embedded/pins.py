"""What decides the content of an entry, and how records show where it came from."""

import json
from dataclasses import asdict
from hashlib import sha256

from retain.embedded.entry import Entry, Package

CONVERTER_VERSION = 1
"""How GGUF weights become a Hugging Face folder; raised when the folder's numbers would change."""


def pinned(entry: Entry, debian: tuple[Package, ...] = ()) -> str:
    """A sha256 over everything in the table that decides an entry's content.

    For a model: its GGUF file and the converter's version. For data: the hashes of its packages,
    the files inside, the reader and its version.

    Args:
        entry: A row of the table.
        debian: Debian packages in use, version and hash filled in.
    """
    decides: dict[str, object]
    if entry.kind == "model":
        decides = {"gguf": entry.sha256, "converter": CONVERTER_VERSION}
    else:
        decides = {
            "files": [[member.package.sha256, member.path] for member in entry.members],
            "debian": [package.sha256 for package in debian],
            "reader": [entry.reader, entry.version],
        }
    return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def facts_of(package: Package) -> dict[str, str | int]:
    """A package as records and reports show it."""
    return asdict(package)
