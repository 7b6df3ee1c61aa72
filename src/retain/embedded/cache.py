"""Where packages and converted models are kept: whole or not at all, one writer at a time."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from platformdirs import user_cache_dir

from retain.errors import EmbeddedError, StoreError
from retain.steps.durable import fsync
from retain.steps.fingerprint import sha256_file
from retain.steps.lock import Holder, locked
from retain.steps.manifest import faults, quick_faults

_verified: set[tuple[str | int, ...]] = set()
"""Files and folders that this process has hashed: path, size, time, inode, what they should be."""


def cache_dir() -> Path:
    """The folder that keeps what was fetched: ``RETAIN_CACHE``, or the platform's cache folder."""
    chosen = os.environ.get("RETAIN_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else Path(user_cache_dir("retain"))


def is_intact(path: Path, size: int, sha256: str) -> bool:
    """Whether a file is there with this size, always, and this hash, read once per process."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    return _once(path, sha256, lambda: sha256_file(path) == sha256)


def is_whole(folder: Path) -> bool:
    """Whether a sealed folder has all its files with their sizes; contents once per process."""
    return not quick_faults(folder) and _once(folder, "manifest", lambda: not faults(folder))


def settle(target: Path, *, good: Callable[[], bool], make: Callable[[Path], Path]) -> Path:
    """The target, made if it is not there or not good; safe against other processes and kills.

    A good target is returned without writing anything, so a warm cache may be read-only. Otherwise
    one process makes it in a temporary folder beside it while others wait, and it takes its name
    last; a damaged one stays until its replacement is complete.

    Args:
        target: File or folder inside the cache.
        good: Whether the target is there and whole.
        make: Given an empty folder, makes the new target somewhere in it and returns its path.

    Raises:
        EmbeddedError: If the cache cannot be written, or is full.
    """
    if good():
        return target
    lock = cache_dir() / "locks" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', target.name)}.lock"
    try:
        with locked(lock, what=target.name, wait=_patiently):
            if not good():
                _make(target, make)
    except (OSError, StoreError) as error:
        raise EmbeddedError(
            f"{cache_dir()}: cannot keep {target.name} in the cache ({error}). The folder must be "
            "writable and have room; set RETAIN_CACHE to one that is."
        ) from error
    return target


def _make(target: Path, make: Callable[[Path], Path]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}-"
    for left_by_a_kill in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(left_by_a_kill)
    with TemporaryDirectory(prefix=prefix, dir=target.parent) as name:
        temporary = Path(name)
        fresh = temporary / "fresh"
        fresh.mkdir()
        made = make(fresh)
        fsync(made)
        if target.is_dir():
            target.rename(temporary / "damaged")
        made.replace(target)
        fsync(target.parent)


def _patiently(holder: Holder) -> None:
    """Wait for as long as the holder lives: it is making what we need."""


def _once(path: Path, what: str, holds: Callable[[], bool]) -> bool:
    stat = path.stat()
    seen = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino, what)
    if seen not in _verified:
        if not holds():
            return False
        _verified.add(seen)
    return True
