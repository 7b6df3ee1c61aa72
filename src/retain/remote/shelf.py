"""Finished steps as objects.

::

    .steps/<kind>-<16 hex>/<sha256>.<number>   a part of a file, of 32 MiB or the rest
    .steps/.finished/<kind>-<16 hex>.json      what is written last: the manifest, and the record

A part is named by the content of its file, so that what was sent before a kill is not sent again,
and two machines that send the same step at once never mix their files. A step is there if and only
if its last object is.
"""

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from retain.errors import StoreError
from retain.remote.objects import MissingObjectError, Objects, ShortObjectError
from retain.steps.durable import announce, fsync, make_folder, writing
from retain.steps.fingerprint import Json, sha256_bytes
from retain.steps.manifest import MANIFEST, file_fault, parse_manifest, read_manifest
from retain.steps.record import RECORD
from retain.steps.step import KIND, NAME, NUM_FOLDER_DIGITS

STEPS, FINISHED = ".steps", ".steps/.finished"
FORMAT = 1
PART_BYTES = 32 << 20
"""Never to be changed without another format: it says which parts a file has."""
AT_ONCE = 4
"""Parts that are on their way at one time."""
ALTERED = 2
"""Times that a file which comes out altered is fetched, before its objects are held to be so."""


class AlteredError(StoreError):
    """What a store holds of a step is not what was put there."""


@dataclass(frozen=True)
class Stored:
    """A finished step of the store.

    Attributes:
        key: ``kind-<16 hex>``.
        folder: ``kind/name-<16 hex>``, as where it was computed.
        manifest: What its files must be.
        record: The bytes of its ``record.json``.
    """

    key: str
    folder: str
    manifest: dict[str, Json]
    record: bytes

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Size and sha256 of each file."""
        files: dict[str, dict[str, Any]] = self.manifest["files"]
        return files


class Shelf:
    """The finished steps of an object store."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def keys(self) -> set[str]:
        """All that are there."""
        names = self.objects.sizes(FINISHED)
        return {name.removesuffix(".json") for name in names if name.endswith(".json")}

    def read(self, key: str) -> Stored | None:
        """What is there of a step; None if it is not there, or is not what was put there."""
        try:
            return _parse(key, self.objects.get(f"{FINISHED}/{key}.json"))
        except MissingObjectError:
            return None

    def send(self, key: str, folder: Path) -> bool:
        """Put a step of this machine, whose files are known to be sound.

        Returns:
            False if another machine's result is there, with other files: that one stands.
        """
        manifest = read_manifest(folder)
        assert manifest is not None
        there = self.objects.sizes(f"{STEPS}/{key}")
        files = {one["sha256"]: name for name, one in manifest["files"].items() if name != RECORD}
        parts = [
            (partial(_read_part, folder / name, start, size), f"{digest}.{number}", size)
            for digest, name in files.items()
            for number, start, size in _parts(manifest["files"][name]["bytes"])
        ]
        missing = [(read, name) for read, name, size in parts if there.get(name) != size]

        def put(part: tuple[Callable[[], bytes], str]) -> None:
            read, name = part
            self.objects.put(f"{STEPS}/{key}/{name}", read())

        _at_once(put, missing)
        written = {
            "format": FORMAT,
            "folder": f"{folder.parent.name}/{folder.name}",
            "manifest": (folder / MANIFEST).read_text("utf-8"),
            "record": (folder / RECORD).read_text("utf-8"),
        }
        content = json.dumps(written, ensure_ascii=False).encode()
        last = f"{FINISHED}/{key}.json"
        if self.objects.create(last, content):
            return True
        if self.read(key) is None:  # altered
            self.objects.put(last, content)
            return True
        return False

    def fetch(self, stored: Stored, names: Iterable[str], target: Path) -> None:
        """Bring files into a folder; each is made durable, and is what its sha256 says.

        Raises:
            AlteredError: If the store does not hold it any more as it was put there.
            StoreError: If it cannot be had, or the disk is full.
        """
        for name in names:
            path = target / name
            with writing(path):
                make_folder(path.parent)
            if name == RECORD:
                _write(path, 0, stored.record)
            else:
                self._fetch_file(stored, name, path)
            fsync(path)

    def drop(self, stored: Stored) -> None:
        """Take a step off that is not what was put there: first what makes it one."""
        self.objects.remove([f"{FINISHED}/{stored.key}.json"])
        parts = self.objects.sizes(f"{STEPS}/{stored.key}")
        self.objects.remove(f"{STEPS}/{stored.key}/{name}" for name in parts)

    def _fetch_file(self, stored: Stored, name: str, path: Path) -> None:
        entry = stored.files[name]
        fault = ""
        for _ in range(ALTERED):
            with writing(path):
                path.unlink(missing_ok=True)
                path.touch()

            def bring(part: tuple[int, int, int]) -> None:
                number, start, size = part
                place = f"{STEPS}/{stored.key}/{entry['sha256']}.{number}"
                _write(path, start, self.objects.get(place, size))

            try:
                _at_once(bring, _parts(entry["bytes"]))
            except (MissingObjectError, ShortObjectError) as error:
                raise AlteredError(f"{name}: {error}") from error
            if not (fault := file_fault(path, entry)):
                return
        raise AlteredError(f"{self.objects.url}: {stored.folder}: {name} {fault}")


def _parts(num_bytes: int) -> list[tuple[int, int, int]]:
    """Number, first byte and bytes of each part of a file.

    >>> _parts(0), _parts(2 * PART_BYTES + 1)[1:]
    ([], [(1, 33554432, 33554432), (2, 67108864, 1)])
    """
    starts = range(0, num_bytes, PART_BYTES)
    return [(at, start, min(PART_BYTES, num_bytes - start)) for at, start in enumerate(starts)]


def _read_part(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        return os.pread(file.fileno(), size, start)


def _write(path: Path, start: int, content: bytes) -> None:
    announce("write", path)
    with writing(path), path.open("r+b" if path.exists() else "xb") as file:
        file.seek(start)
        file.write(content)


def _at_once(do: Callable[[Any], None], parts: Iterable[Any]) -> None:
    """Do some at a time; the first that fails ends it, and those that have begun are waited for."""
    waiting = list(parts)
    if len(waiting) < 2:
        for one in waiting:
            do(one)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = [pool.submit(do, one) for one in waiting]
        try:
            for one in begun:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _parse(key: str, content: bytes) -> Stored | None:
    """What was written last of a step, if it is as it was written: it may come from anybody."""
    try:
        written = json.loads(content)
        manifest = parse_manifest(written["manifest"].encode())
        record = written["record"].encode()
        kind, _, name = written["folder"].partition("/")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if manifest is None or written.get("format") != FORMAT:
        return None
    short = str(manifest.get("fingerprint"))[:NUM_FOLDER_DIGITS]
    called, _, digits = name.rpartition("-")
    sound = (
        KIND.fullmatch(kind)
        and NAME.fullmatch(called)
        and not called.startswith(".")
        and digits == short
        and key == f"{kind}-{short}"
        and manifest["files"].get(RECORD, {}).get("sha256") == sha256_bytes(record)
    )
    return Stored(key, written["folder"], manifest, record) if sound else None
