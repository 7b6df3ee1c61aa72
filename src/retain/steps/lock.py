"""Locks that die with their owner: ``flock`` on a file that says who holds it.

For local disks. The kernel frees the lock when the owner ends, however it ends, so there is no
stale lock, no lease and no heartbeat. Children made by ``fork`` close the descriptor, so that an
orphan does not hold its dead parent's lock.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from retain.errors import StoreError

POLL_SECONDS = 0.1
HOLDER_SECONDS = 0.5

_open_descriptors: set[int] = set()


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as far as the lock file says."""

    pid: int = 0
    host: str = "an unknown host"
    since: str = "an unknown time"

    def __str__(self) -> str:
        who = f"process {self.pid}" if self.pid else "another process"
        return f"{who} on {self.host} since {self.since}"


class LockHeldError(StoreError):
    """Somebody else has the lock; ``holder`` says who."""

    def __init__(self, what: str, holder: Holder) -> None:
        super().__init__(
            f"{what}: {holder} has it. Wait until that ends, or stop it, and give the same "
            "command again."
        )
        self.holder = holder


@contextmanager
def locked(
    path: Path,
    *,
    what: str = "",
    shared: bool = False,
    wait: Callable[[Holder], None] | None = None,
) -> Iterator[None]:
    """Hold a lock while the block runs.

    Args:
        path: The lock file; created, and left behind (its content is only a message).
        what: What is locked, in words, for the error; default: the path.
        shared: Let other shared holders in; only an exclusive one keeps them out.
        wait: None: do not wait. Else called about ten times a second while waiting, with the
            holder; it may raise to give up.

    Raises:
        LockHeldError: If it is taken and ``wait`` is None.
        StoreError: If the disk knows no locks.
        OSError: If the lock file cannot be made.
    """
    descriptor = _acquire(path, what or str(path), shared=shared, wait=wait)
    try:
        _sign(descriptor)
        yield
    finally:
        if descriptor in _open_descriptors:  # not so in a child made inside the block
            _open_descriptors.remove(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child on its way may still have it open
            os.close(descriptor)


def read_holder(path: Path) -> Holder:
    """Who signed the lock file last; of no meaning when nobody holds the lock."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):  # not there, or not signed yet
        return Holder()


def _acquire(path: Path, what: str, *, shared: bool, wait: Callable[[Holder], None] | None) -> int:
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if _try(descriptor, operation, path) and _is_current(descriptor, path):
            _open_descriptors.add(descriptor)
            return descriptor
        os.close(descriptor)
        holder = _living_holder(path)
        if wait is None:
            raise LockHeldError(what, holder)
        wait(holder)
        time.sleep(POLL_SECONDS)


def _try(descriptor: int, operation: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        os.close(descriptor)
        raise StoreError(
            f"{path}: this disk cannot lock files ({error.strerror}). Put the runs folder on a "
            "local disk."
        ) from error
    return True


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one of that name, not one that was cleaned away."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _living_holder(path: Path) -> Holder:
    """The holder; a new one that has not signed yet gets half a second to do so."""
    end = time.monotonic() + HOLDER_SECONDS
    while True:
        holder = read_holder(path)
        if _may_live(holder):
            return holder
        if time.monotonic() > end:
            return Holder()
        time.sleep(HOLDER_SECONDS / 20)


def _may_live(holder: Holder) -> bool:
    if not holder.pid or holder.host != socket.gethostname():
        return holder.pid != 0
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, another user's
        return True
    return True


def _sign(descriptor: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _close_in_child() -> None:
    for descriptor in _open_descriptors:
        os.close(descriptor)
    _open_descriptors.clear()


os.register_at_fork(after_in_child=_close_in_child)
