"""Saving a phase in progress while it goes on, and what a signal or an error leaves behind.

At the boundary of an optimizer step a thread begins to write the state; the next save waits for the
one before. It writes a copy where memory is plenty. Else it reads the live weights while the next
step's gradients are computed, and the step waits for it before it changes them. An error of the
thread is raised at the next boundary.
"""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from time import monotonic, thread_time
from types import TracebackType

import torch

from retain.errors import Interrupted, StoreError
from retain.model.memory import free_bytes, is_out_of_memory
from retain.steps.work import Work
from retain.train import snapshot as snapshots
from retain.train.plan import total_memory_bytes
from retain.train.snapshot import Pace, Snapshot

CPU_BYTES = total_memory_bytes(torch.device("cpu"))
STOP_SECONDS = 10.0  # from a signal to the end, at most
PART_OF_FREE_MEMORY = 0.5  # that a copy may take
PART_OF_ALL_MEMORY = 1 / 16  # and of the machine's: on a small one, memory is worth more than time
NICENESS = 10  # of the thread that writes: training goes first where both want a processor


class Saver(AbstractContextManager["Saver"]):
    """Saves one phase; leaving its block waits for the thread that writes.

    Args:
        work: Where snapshots go, who is told, and whether to stop.
        take: The state after so many optimizer steps; its tensors are the live ones.
        pace: When to save.
        num_steps: Optimizer steps of the phase.
        aside: Whether the thread may write while training goes on; else training waits.
    """

    def __init__(
        self,
        work: Work,
        take: Callable[[], Snapshot],
        pace: Pace,
        *,
        num_steps: int,
        aside: bool = True,
    ) -> None:
        self._work, self._take, self._pace, self._num_steps = work, take, pace, num_steps
        self._aside = aside
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._asked_at: float | None = None
        self._reads_live = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the thread: what it writes lies in a folder that is removed when all is done."""
        self.wait()

    def leave_unless_it_fits(self, step: int, seconds: Callable[[], float]) -> None:
        """Inside a step: leave if a signal came and there is no time to finish the step and save.

        Args:
            step: Optimizer steps that are done.
            seconds: What the rest of this one will take.

        Raises:
            Interrupted: If so.
        """
        if self._asked() and not self._fits(seconds()):
            raise self._interrupted(step, saved=False)

    def boundary(self, step: int) -> None:
        """After ``step`` optimizer steps: save if it is time to, or if a signal came.

        Raises:
            Interrupted: If a signal came; what was done is saved if time allows.
            StoreError: If the disk is full, now or when the last snapshot was written.
        """
        if self._error is not None:
            raise self._error
        if self._asked():
            saved = self._fits()
            if saved:
                self._save(background=False)
            raise self._interrupted(step, saved=saved)
        if self._pace.is_due(step):
            self._save(background=self._aside)

    def before_change(self) -> None:
        """Before weights change: wait for a thread that still reads them."""
        if self._reads_live and self._thread is not None:
            started = monotonic()
            self.wait()
            self._pace.lost(monotonic() - started)

    def wait(self) -> None:
        """Until no snapshot is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _asked(self) -> bool:
        if self._asked_at is None and self._work.stop():
            self._asked_at = monotonic()
        return self._asked_at is not None

    def _fits(self, seconds_before: float = 0.0) -> bool:
        """Whether a save, and the seconds before it, fit between the signal and the end."""
        assert self._asked_at is not None
        gone = monotonic() - self._asked_at
        writing = self._pace.save_seconds if self._thread is not None else 0.0
        needed = max(seconds_before, writing) + self._pace.save_seconds
        return gone + needed <= STOP_SECONDS

    def _save(self, *, background: bool) -> None:
        """Write the present state."""
        started = monotonic()
        self.wait()
        if self._error is not None:
            raise self._error
        self._pace.begun()
        live = self._take()
        if not background:
            self._write(live, started, waited=None)
            return
        copied = self._copied(live)
        self._reads_live = copied is None
        waited = monotonic() - started
        self._thread = threading.Thread(
            target=self._write_aside,
            args=(copied or live, started, waited),
            name="snapshot",
            daemon=True,
        )
        self._thread.start()

    def _copied(self, live: Snapshot) -> Snapshot | None:
        """A copy to be written aside; None where memory is too short for one."""
        allowed = min(PART_OF_FREE_MEMORY * free_bytes(), PART_OF_ALL_MEMORY * CPU_BYTES)
        if live.num_bytes > allowed:
            return None
        try:
            return snapshots.copied(live)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                return None
            raise

    def _write_aside(self, snapshot: Snapshot, started: float, waited: float) -> None:
        """In the thread."""
        if sys.platform == "linux":  # where a thread has a niceness of its own
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            self._write(snapshot, started, waited)
        except BaseException as error:  # noqa: BLE001 - raised at the next boundary
            self._error = error
            with suppress(StoreError):  # nor is there room for a line
                self._work.event(
                    "snapshot failed", optimizer_step=snapshot.step, message=str(error)
                )

    def _write(self, snapshot: Snapshot, started: float, waited: float | None) -> None:
        """Write a snapshot; ``waited`` is what training waited for, None if for all of it."""
        clock = thread_time()
        snapshots.save(self._work.partial, snapshot)
        seconds = monotonic() - started
        cost = seconds if waited is None else waited + thread_time() - clock
        self._pace.saved(seconds, cost)
        self._work.event(
            "snapshot",
            optimizer_step=snapshot.step,
            seconds=round(seconds, 3),
            waited_seconds=round(seconds if waited is None else waited, 3),
            background=waited is not None,
        )

    def _interrupted(self, step: int, *, saved: bool) -> Interrupted:
        state = "saved" if saved else "saving would take too long: the last snapshot stands"
        return Interrupted(
            f"{self._work.step.folder}: stopped after optimizer step {step} of {self._num_steps}, "
            f"{state}; the same command goes on from there"
        )
