"""Leave on Ctrl-C or SIGTERM without losing work: first ask, then wait ten seconds, then go.

Python runs its signal handlers between two byte codes of the main thread, so a handler alone is
late by as long as one call into compiled code takes. Here the interpreter's wake-up descriptor is
read by a thread of its own, which is told at once.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 10.0
BOUNCE_SECONDS = 0.2
"""A second signal so soon is the first one again: ``timeout`` signals its child twice."""
EXIT_CODE = 130
UNHEARD = (signal.SIG_IGN, None)
"""Signals the caller ignores (a job in the background does) or that are not Python's stay so."""
SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def listening(
    *,
    on_stop: Callable[[], None],
    on_leave: Callable[[str], None],
    grace_seconds: float = GRACE_SECONDS,
) -> Iterator[Callable[[], bool]]:
    """Take over SIGINT and SIGTERM while the block runs.

    The first signal makes the yielded function return True. If the block has not ended after
    ``grace_seconds``, or at a second signal, the process leaves at once with exit code 130:
    nothing is unwound, locks free themselves and half-written files are temporary ones.
    Outside the main thread, where Python takes no signals, nothing is done.

    Args:
        on_stop: Called once after the first signal, from another thread.
        on_leave: Called with the reason before the process leaves, for one second at most.
        grace_seconds: How long the running step has to save and leave.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    watcher = _Watcher(on_stop, on_leave, grace_seconds)
    heard = [number for number in SIGNALS if signal.getsignal(number) not in UNHEARD]
    previous = {number: signal.signal(number, watcher.noted) for number in heard}
    previous_descriptor = signal.set_wakeup_fd(watcher.sender.fileno(), warn_on_full_buffer=False)
    watcher.thread.start()
    try:
        yield watcher.asked.is_set
    finally:
        signal.set_wakeup_fd(previous_descriptor)
        for number, handler in previous.items():
            signal.signal(number, handler)
        watcher.close()


class _Watcher:
    """The thread that reads which signals came, and the flag it sets."""

    def __init__(
        self,
        on_stop: Callable[[], None],
        on_leave: Callable[[str], None],
        grace_seconds: float,
    ) -> None:
        self.asked = threading.Event()
        self.receiver, self.sender = socket.socketpair()
        self.sender.setblocking(False)
        self.thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._on_stop = on_stop
        self._on_leave = on_leave
        self._grace_seconds = grace_seconds
        self._first_at = 0.0

    def noted(self, number: int, frame: FrameType | None) -> None:
        """The handler in the main thread; the flag is for programs that come here first."""
        self.asked.set()

    def close(self) -> None:
        """End the thread."""
        self.sender.close()
        self.thread.join()
        self.receiver.close()

    def _watch(self) -> None:
        while True:
            self.receiver.settimeout(self._remaining_seconds())
            try:
                numbers = self.receiver.recv(64)
            except TimeoutError:
                self._leave(f"not done {self._grace_seconds:g} s after the signal")
            else:
                if not numbers:
                    return
                for number in numbers:
                    if number in SIGNALS:
                        self._take(number)

    def _take(self, number: int) -> None:
        now = time.monotonic()
        if not self._first_at:
            self._first_at = now
            self.asked.set()
            threading.Thread(target=self._on_stop, daemon=True).start()
        elif now - self._first_at > BOUNCE_SECONDS:
            self._leave(f"second signal ({signal.Signals(number).name})")

    def _remaining_seconds(self) -> float | None:
        if not self._first_at:
            return None
        return max(0.001, self._first_at + self._grace_seconds - time.monotonic())

    def _leave(self, reason: str) -> None:
        last_words = threading.Thread(target=self._on_leave, args=(reason,), daemon=True)
        last_words.start()
        last_words.join(timeout=1.0)
        if sys.stderr is not None and sys.stderr.isatty():
            os.write(2, SHOW_CURSOR)
        os._exit(EXIT_CODE)
