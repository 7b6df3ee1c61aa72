"""A disk of a few hundred kilobytes, mounted where this process alone sees it."""

import ctypes
import os
from pathlib import Path

NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000
REMOUNT = 32

_libc = ctypes.CDLL(None, use_errno=True)


def mount(folder: Path, num_bytes: int) -> None:
    """Put an empty file system in memory on a folder; gone when this process ends.

    Raises:
        OSError: If the system does not permit it.
    """
    if _libc.unshare(NEW_MOUNTS) and _libc.unshare(NEW_USER | NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "unshare")
    _mount(folder, num_bytes, 0)


def grow(folder: Path, num_bytes: int) -> None:
    """Make it larger, with all that is on it."""
    _mount(folder, num_bytes, REMOUNT)


def _mount(folder: Path, num_bytes: int, flags: int) -> None:
    options = f"size={num_bytes}".encode()
    if _libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options):
        raise OSError(ctypes.get_errno(), f"mount {folder}")
