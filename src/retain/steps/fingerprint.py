"""The bytes that identify a value: the same in every process, or an error.

Rules of :func:`canonical`, on which every stored result depends, so they never change:

- objects: string keys, sorted; the order they were written in does not matter;
- lists and tuples are the same thing, an array, and their order matters;
- ``1``, ``1.0`` and ``True`` are three different values: a reader may take 1 for a count and 1.0
  for a fraction. Typed recipe fields settle the spelling before it comes here;
- floats are written with the fewest digits that read back equal; NaN and infinities are refused;
- everything else (sets, bytes, paths, dates, callables, arrays, subclasses of the above) is refused
  instead of being turned into text that another process might spell otherwise.
"""

import hashlib
import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

from retain.errors import RecipeError, StoreError

Json: TypeAlias = Any
"""None, bool, int, float, str, list or dict of these: checked by ``canonical`` when a step is made.

Not a recursive union: readers of ``step.settings`` would need a cast at every level.
"""

MAX_DEPTH = 64
CHUNK_BYTES = 1 << 20


def canonical(value: Json, place: str = "value") -> bytes:
    """The one spelling of a JSON value, as UTF-8.

    Args:
        value: None, bool, int, float, str, or lists, tuples and mappings of these.
        place: What the value is called in an error.

    Raises:
        RecipeError: If a part of it has no spelling that every process agrees on.

    >>> canonical({"b": [1, 1.0, True], "a": None})
    b'{"a":null,"b":[1,1.0,true]}'
    """
    plain = plain_copy(value, place)
    try:
        text = json.dumps(
            plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
        return text.encode("utf-8")
    except ValueError as error:  # lone surrogates, integers of more than 4,300 digits
        raise RecipeError(f"{place}: cannot be written as JSON in UTF-8 ({error})") from error


def plain_copy(value: Json, place: str = "value") -> Json:
    """A deep copy made of dicts, lists and scalars only, or the error of :func:`canonical`."""
    return _plain(value, place, 0)


def sha256_bytes(content: bytes) -> str:
    """Hex sha256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Hex sha256 of a file's content, read in pieces.

    Raises:
        StoreError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def sha256_folder(path: Path | str) -> str:
    """Hex sha256 of every file below a folder: relative names and contents, nothing else.

    Links to files are followed (a download cache is made of them). Times, modes and empty folders
    do not count.

    Raises:
        StoreError: If it is no folder, is empty, or holds a link to a folder (which would be
            skipped silently).
    """
    root = Path(path)
    if not root.is_dir():
        raise StoreError(f"{root}: not a folder")
    names: dict[str, str] = {}
    for entry in sorted(root.rglob("*")):
        if entry.is_dir():
            if entry.is_symlink():
                raise StoreError(f"{entry}: a link to a folder; put the folder itself there")
            continue
        names[entry.relative_to(root).as_posix()] = sha256_file(entry)
    if not names:
        raise StoreError(f"{root}: the folder holds no file")
    return sha256_bytes(canonical(names, str(root)))


def _plain(value: Json, place: str, depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise RecipeError(f"{place}: nested more than {MAX_DEPTH} deep, or contains itself")
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        if not isfinite(value):
            raise RecipeError(f"{place}: {value} is not a number that can be written down")
        return value
    if kind in (list, tuple):
        return [_plain(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {
            _key(key, place): _plain(item, f"{place}.{key}", depth + 1)
            for key, item in value.items()
        }
    raise RecipeError(
        f"{place}: a {kind.__module__}.{kind.__qualname__} has no spelling that every process "
        "agrees on. Allowed: None, bool, int, float, str, lists and string-keyed mappings of "
        "these; convert it (sorted(...) for a set, float(...) for an array's number, str(...) "
        "for a path)."
    )


def _key(key: object, place: str) -> str:
    if type(key) is not str:
        raise RecipeError(f"{place}: key {key!r} is a {type(key).__name__}; keys are strings")
    return key
