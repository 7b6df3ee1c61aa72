"""The one way files become durable: a kill or a power cut leaves the old state or the new one.

Order of a folder: write into a temporary folder beside the final one, fsync every file and folder,
write ``MANIFEST.json`` (size and sha256 of each file) last, fsync it, rename, fsync the parent, and
only then prune what it replaces. A folder is whole if and only if its manifest verifies
(:mod:`retain.steps.manifest`); a number in a folder's name proves nothing.

Every write, fsync, rename and removal is announced to ``on_file_event`` before it happens, so that
a test can kill the process there. Who fills a file by a library's own means calls ``announce``.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from retain.errors import StoreError
from retain.steps.fingerprint import Json
from retain.steps.manifest import MANIFEST, build_manifest, manifest_bytes

TEMPORARY = ".tmp"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)


def _no_event(kind: str, path: Path) -> None:
    """Nothing listens."""


on_file_event: Callable[[str, Path], None] = _no_event
"""Set by a test harness: called with ``make|write|fsync|rename|remove`` and the path, before.

It may be called from the thread that writes snapshots.
"""


def announce(kind: str, path: Path) -> None:
    """Say that a file is about to be changed."""
    on_file_event(kind, path)


def write_file(path: Path, content: bytes | str) -> None:
    """Replace a file's content whole: temporary file, fsync, rename, fsync of its folder."""
    make_folder(path.parent)
    temporary = path.with_name(f"{TEMPORARY}-{path.name}-{secrets.token_hex(4)}")
    try:
        write_new(temporary, content)
        announce("rename", path)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def write_new(path: Path, content: bytes | str) -> None:
    """A new file, fsynced; its name becomes durable with its folder's fsync."""
    announce("write", path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        announce("fsync", path)
        os.fsync(file.fileno())


def append(path: Path, line: bytes, *, sync: bool = True) -> None:
    """Add a line to a file in one piece, after closing one that a kill has torn.

    Args:
        path: Created where it is not there yet; its folder must be.
        line: With its line end.
        sync: Force it to the disk before going on.

    Raises:
        OSError: As the system says; where only a part found room, as for a full disk.
    """
    announce("write", path)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        is_torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
        text = b"\n" + line if is_torn else line
        if os.write(descriptor, text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if sync:
            announce("fsync", path)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_link(link: Path, target: str) -> None:
    """A symbolic link, in the place of the one that has its name.

    Raises:
        OSError: If the disk knows no links.
    """
    announce("write", link)
    beside = link.with_name(f"{TEMPORARY}-{link.name}-{secrets.token_hex(4)}")
    try:
        beside.symlink_to(target, target_is_directory=True)
        announce("rename", link)
        beside.replace(link)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_folder(final: Path, files: Mapping[str, bytes | str]) -> None:
    """A new folder with these files (names relative to it), sealed by a manifest."""
    with durable_folder(final) as folder:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_new(path, content)


@contextmanager
def durable_folder(
    final: Path,
    *,
    temporary: Path | None = None,
    head: Mapping[str, Json] | None = None,
    needed_bytes: int = 0,
) -> Iterator[Path]:
    """A temporary folder to fill; on a clean exit it is sealed and becomes ``final`` at once.

    On an error the temporary folder is removed and ``final`` does not come into being.

    Args:
        final: Must not exist yet: nothing finished is ever overwritten.
        temporary: Where to build; on the same disk. Default: a dot folder beside ``final``.
        head: More fields for the manifest.
        needed_bytes: What it is expected to take, for the message of a full disk; 0: unknown.

    Raises:
        StoreError: If ``final`` exists, the disk is full or the place is not writable.
    """
    building = temporary or final.parent / f"{TEMPORARY}-{final.name}-{secrets.token_hex(4)}"
    if final.exists():
        raise StoreError(f"{final}: exists; what is finished is never written to again")
    with filling(final, needed_bytes):
        try:
            with writing(final, needed_bytes):
                make_folder(final.parent)
                make_folder(building)
            yield building
            with writing(final, needed_bytes):
                seal(building, head)
                publish(building, final)
        except BaseException:
            if building.exists():
                remove_tree(building)
            raise


def seal(folder: Path, head: Mapping[str, Json] | None = None) -> None:
    """Make every file of the folder durable, then write the manifest, last."""
    for path in sorted(folder.rglob("*"), reverse=True):  # files before the folders they are in
        fsync(path)
    manifest = build_manifest(folder, head or {})
    write_new(folder / MANIFEST, manifest_bytes(manifest))
    fsync(folder)


def publish(building: Path, final: Path) -> None:
    """Rename a sealed folder to its final name and make the new name durable."""
    announce("rename", final)
    building.rename(final)
    fsync(final.parent)
    if building.parent != final.parent:
        fsync(building.parent)


def remove_tree(path: Path) -> None:
    """Remove a folder and all below it; fine if some or all of it is gone already."""
    if path.is_symlink():
        raise StoreError(f"{path}: is a link; only real folders are removed")
    for folder, folders, files in os.walk(path, topdown=False):
        for name in [*files, *folders]:
            _remove_one(Path(folder, name))
    _remove_one(path)


def make_folder(path: Path) -> None:
    """Create a folder and its parents, each name made durable in the folder above it."""
    if path.is_dir():
        return
    make_folder(path.parent)
    announce("make", path)
    path.mkdir(exist_ok=True)
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Force a file's content, or a folder's names, to the disk."""
    announce("fsync", path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_space(place: Path, needed_bytes: int, what: str) -> None:
    """Refuse to start what cannot fit.

    Args:
        place: The folder to be written to; it need not exist yet.
        needed_bytes: Peak need, temporary files included.
        what: What needs it, for the message.

    Raises:
        StoreError: If less is free.
    """
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise StoreError(
            f"{place}: {what} needs {megabytes(needed_bytes)} on this disk, and "
            f"{megabytes(free_bytes)} are free. Free {megabytes(needed_bytes - free_bytes)} "
            "(`retain clean --dry-run` shows what no run refers to), or put the runs folder on "
            "another disk."
        )


@contextmanager
def writing(place: Path, needed_bytes: int = 0) -> Iterator[None]:
    """Turn a full disk or a refusing folder into a message that says what to do.

    Args:
        place: What is being written.
        needed_bytes: What the whole of it is expected to take; 0 when unknown.

    Raises:
        StoreError: In place of the error, which stays attached as its cause.
    """
    with filling(place, needed_bytes):
        try:
            yield
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            raise StoreError(
                f"{place}: cannot be written ({error}). Change its permissions, or choose another "
                "folder."
            ) from error


@contextmanager
def filling(place: Path, needed_bytes: int = 0) -> Iterator[None]:
    """Turn a full disk, however a library words it, into a message that says what to do.

    Args:
        place: What is being written.
        needed_bytes: What the whole of it is expected to take; 0 when unknown.

    Raises:
        StoreError: In place of the error, which stays attached as its cause.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if is_disk_full(error):
            raise _disk_full(place, needed_bytes, error) from error
        raise


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that no space is left (libraries reword it)."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def megabytes(num_bytes: int) -> str:
    """A size as people read it.

    >>> megabytes(1_234_567), megabytes(2_500_000_000), megabytes(800)
    ('1.2 MB', '2.5 GB', '800 bytes')
    """
    if num_bytes < 10_000:
        return f"{num_bytes} bytes"
    if num_bytes < 1_000_000_000:
        return f"{num_bytes / 1e6:.1f} MB"
    return f"{num_bytes / 1e9:.1f} GB"


def _disk_full(place: Path, needed_bytes: int, error: Exception) -> StoreError:
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free_bytes = shutil.disk_usage(existing).free
    needed = f"it needs about {megabytes(needed_bytes)}, " if needed_bytes else ""
    return StoreError(
        f"{place}: the disk (or quota) is full ({error}): {needed}{megabytes(free_bytes)} are free "
        "now that its temporary files are removed. What was finished before is intact. Free space "
        "(`retain clean --dry-run` shows what no run refers to) and give the same command again."
    )


def _remove_one(path: Path) -> None:
    announce("remove", path)
    with suppress(FileNotFoundError):  # somebody else removes the same tree
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
