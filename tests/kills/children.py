"""Children of the fork server: what disturbs a run in them, and how they end."""

import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from retain.errors import Interrupted, RetainError
from retain.execute import Quiet
from retain.steps import durable

KILLED = -signal.SIGKILL
HUNG = -1000
REFUSED, STOPPED, BROKEN = 1, 130, 70  # exit codes, the first two as of the command line
MAX_SECONDS = 60.0  # of a child


def in_child(
    act: Callable[[], None], said: Path | None = None, *, kill_after: float | None = None
) -> int:
    """Exit status of a fork that acts; negative: killed by that signal.

    Args:
        act: What it does.
        said: Gets the message of an error of ours.
        kill_after: Seconds until it is killed from outside.
    """
    assert threading.active_count() == 1, "a process with threads may not fork"
    pid = os.fork()
    if pid == 0:
        act_in_child(act, said)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    return status_of(pid)


def act_in_child(act: Callable[[], None], said: Path | None) -> None:
    """In the child: act, and leave with the exit code of the command line."""
    status = BROKEN
    try:
        act()
        status = 0
    except RetainError as error:
        status = REFUSED
        if said is None:
            traceback.print_exc()
        else:
            said.write_text(str(error))
    except (Interrupted, KeyboardInterrupt):
        status = STOPPED
    except BaseException:  # noqa: BLE001 - a child never returns into the server
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def status_of(pid: int) -> int:
    end = time.monotonic() + MAX_SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, signal.SIGUSR1)  # the server asked for a traceback on it
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return HUNG


def counted(do: Callable[[], None]) -> tuple[int, int]:
    """Exit status and number of file events of a run that nobody disturbs."""
    reader, writer = os.pipe()

    def count() -> None:
        seen = []
        durable.on_file_event = lambda kind, path: seen.append(kind)
        do()
        os.write(writer, str(len(seen)).encode())

    status = in_child(count)
    os.close(writer)
    with os.fdopen(reader) as answer:
        return status, int(answer.read() or 0)


class KilledAt(Quiet):
    """Kills the process once training has come to a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def progress(self, step, done, total, text, unit) -> None:
        if unit == "steps" and done == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def _at_event(number: int, act: Callable[[str, Path], None]) -> None:
    """Let something happen before the ``number``-th file event."""
    count = iter(range(10**9))
    durable.on_file_event = lambda kind, path: act(kind, path) if next(count) == number else None


def kill_at(number: int, do: Callable[[], None]) -> None:
    _at_event(number, lambda kind, path: os.kill(os.getpid(), signal.SIGKILL))
    do()


def term_at(number: int, do: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
    _at_event(number, lambda kind, path: os.kill(os.getpid(), signal.SIGTERM))
    do()


def full_at(number: int, do: Callable[[], None], *, for_good: bool) -> None:
    count = iter(range(10**9))

    def full(kind: str, path: Path) -> None:
        now = next(count)
        if kind != "remove" and (now >= number if for_good else now == number):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    durable.on_file_event = full
    do()
