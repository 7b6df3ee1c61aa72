"""A worker: takes one step after the other, and tells whoever leads what becomes of them.

It stays alive between steps, so libraries are loaded once and the model of the last step is still
in memory. Where it runs and how it talks is its leader's business: a process of this machine (see
``processes``) or an actor on a cluster (``on_ray``).
"""

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from retain.errors import Interrupted
from retain.execute.here import waiter
from retain.execute.listener import Outcome
from retain.execute.runners import Runner
from retain.execute.told import Ended, Moved, Noted, Ready, Said, Started, Told, as_fault
from retain.steps.entries import folder_bytes
from retain.steps.fingerprint import Json
from retain.steps.journal import Journal
from retain.steps.memory import give_back_memory, let_go
from retain.steps.packed import Packed, unpack
from retain.steps.record import installed_versions
from retain.steps.step import Step
from retain.steps.store import Store

PROGRESS_SECONDS = 0.1
"""Between two reports of a step's progress: a bar need not move more often."""


def _nothing() -> None:
    """Nothing has to be set."""


@dataclass(frozen=True)
class Assignment:
    """What a worker is told once, before any step.

    Attributes:
        root: The store's folder, as seen from the leader's working folder.
        steps: The graph; see ``retain.steps.packed``.
        run: Does one step; it and all it holds can be pickled.
        begin: Called first: what this process must know besides, such as what is trusted.
        open_store: Opens the store.
    """

    root: Path
    steps: tuple[Packed, ...]
    run: Runner
    begin: Callable[[], None] = _nothing
    open_store: Callable[[Path], Store] = Store


class Worker:
    """Carries out steps of one graph.

    Args:
        assignment: What to know.
        tell: Gets everything that happens; called from several threads.

    Attributes:
        stop: Set when the running step should save and leave.
    """

    def __init__(self, assignment: Assignment, tell: Callable[[Told], None]) -> None:
        assignment.begin()
        self.stop = threading.Event()
        self._tell = tell
        self._run = assignment.run
        self._store = assignment.open_store(assignment.root)
        self._steps = {step.fingerprint: step for step in unpack(assignment.steps)}

    def in_use(self) -> AbstractContextManager[None]:
        """Hold while there may be steps: keeps ``retain clean`` out."""
        return self._store.in_use()

    def carry_out(self, fingerprint: str) -> None:
        """Do a step; whatever comes of it is told, and nothing is raised."""
        step, clock = self._steps[fingerprint], time.monotonic()
        try:
            ended = self._attempt(step)
        except Exception as error:  # noqa: BLE001 - it is raised where the worker is led from
            outcome: Outcome = "interrupted" if isinstance(error, Interrupted) else "failed"
            seconds = time.monotonic() - clock
            ended = Ended(outcome, seconds, fault=as_fault(error))
            let_go(error)
        give_back_memory()
        self._tell(ended)

    def _attempt(self, step: Step) -> Ended:
        wait = waiter(step, lambda text: self._tell(Said(text)), self.stop.is_set)
        with self._store.lock(step, wait=wait):
            if self._store.finished(step):  # the process that was waited for did it
                return Ended("reused")
            self._tell(Started())
            clock = time.monotonic()
            journal, progress = _ToldJournal(self._tell), _Progress(self._tell)
            with self._store.begin(step, journal, progress=progress, stop=self.stop.is_set) as work:
                self._run(work)
            seconds = time.monotonic() - clock
            return Ended("finished", seconds, folder_bytes(self._store.path(step)))


def ready() -> Ready:
    """What a worker says of itself, once all it keeps to its end is in memory."""
    gc.freeze()  # the graph: looked through after every step, it cost more than small steps do
    return Ready(f"process {os.getpid()} on {socket.gethostname()}", installed_versions())


class _ToldJournal(Journal):
    """Events go to the leader: one process writes the journal."""

    def __init__(self, tell: Callable[[Told], None]) -> None:
        super().__init__(Path(os.devnull))
        self._tell = tell

    def events(self, found: Iterable[tuple[str, Mapping[str, Json]]]) -> None:
        for kind, fields in found:
            self._tell(Noted(kind, dict(fields)))


class _Progress:
    """Tells of progress, not more often than anybody looks."""

    def __init__(self, tell: Callable[[Told], None]) -> None:
        self._tell = tell
        self._last = float("-inf")

    def __call__(self, done: float, total: float, text: str, unit: str) -> None:
        now = time.monotonic()
        if now - self._last >= PROGRESS_SECONDS:
            self._last = now
            self._tell(Moved(done, total, text, unit))
