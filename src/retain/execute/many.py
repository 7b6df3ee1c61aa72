"""Carry out a graph of steps by several workers at once, wherever they are.

One process leads: it alone decides what is done next, writes the journal and tells the listener.
Workers hold the lock of the step they do, as a process that works alone does, so several runs may
share a store. What a worker was doing when it died is given to another one.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from retain.errors import Interrupted, RetainError, StoreError
from retain.execute.here import MAX_DAMAGED, clear_away
from retain.execute.ledger import Ledger, Summary
from retain.execute.listener import Listener, Quiet
from retain.execute.order import needed, ordered
from retain.execute.signals import GRACE_SECONDS, listening
from retain.execute.told import (
    Ended,
    Gone,
    Moved,
    Noted,
    Ready,
    Refused,
    Said,
    Started,
    Told,
    as_error,
)
from retain.execute.waiting import Waiting
from retain.steps.journal import Journal
from retain.steps.step import Step
from retain.steps.store import DamagedStepError, Store

POLL_SECONDS = 0.1
"""How late a signal may be noticed."""
PATIENCE_SECONDS = 20.0
"""Without any worker, before it is said."""
MAX_DEATHS = 3
"""Workers that may die over one step in a row without progress, or before they can take one."""
PROGRESS = 0.05  # of a step: if an attempt came so much further, earlier deaths are forgotten
PAUSE_SECONDS = 60.0
"""After so many died as they started, until another one is tried beside those that work."""
KEPT = "model"
"""The input that stays in a worker's memory after a step."""


class Hired(Protocol):
    """A worker, as the leader sees it."""

    name: str

    def give(self, fingerprint: str) -> None:
        """Have it carry out a step; it tells ``Ended`` or is ``Gone``."""

    def stop(self) -> None:
        """Have the running step save and leave; no step after it goes on."""

    def kill(self) -> None:
        """End it at once; it is ``Gone`` soon."""


class Staff(AbstractContextManager["Staff"], Protocol):
    """Where workers come from; leaving the block ends them."""

    @property
    def most(self) -> int:
        """How many there may be at once, at this moment."""

    def hire(self) -> Hired:
        """One more; it tells ``Ready`` when it can take a step."""

    def listen(self, seconds: float) -> Iterable[tuple[Hired, Told]]:
        """What workers tell, waiting for it so long at most."""


@dataclass(frozen=True)
class Memory:
    """What steps that run at once may take together.

    Attributes:
        room_bytes: Of all of them.
        of: The most that a step takes; a step that takes more than there is runs alone.
    """

    room_bytes: float = float("inf")
    of: Callable[[Step], float] = lambda step: 0.0


@dataclass
class _Job:
    """A step that a worker was given."""

    step: Step
    needed_bytes: float
    started: float = 0.0


def carry_out_by(  # noqa: PLR0913 - each by its name
    staff: Staff,
    graph: Iterable[Step],
    store: Store,
    *,
    journal: Journal,
    listener: Listener | None = None,
    targets: Collection[Step] | None = None,
    goes_on: Callable[[Collection[Step]], bool] = lambda failed: False,
    memory: Memory | None = None,
) -> Summary:
    """Finish every step that is wanted, several at once; else as ``carry_out`` does.

    A step whose worker died is given to another one, twice unless it gets further each time; the
    second time nothing runs beside it.

    Args:
        staff: Where workers come from; they are ended at the end.
        graph: The steps, the more urgent first; inputs come first whatever the order.
        store: Where results are and go; every worker sees it.
        journal: Gets a line for every step, and for every worker that died.
        listener: Told of progress; default: nobody.
        targets: As in ``carry_out``.
        goes_on: As in ``carry_out``.
        memory: What steps that run at once may take; default: whatever they like.

    Raises:
        Interrupted: After a signal, once all that ran has saved; the same call goes on from there.
        RetainError: Whatever a step raised, unless it goes on; what was finished before stays.
    """
    steps = list(graph)
    wanted = needed(steps, store, targets)
    told = listener or Quiet()
    lead = _Lead(
        staff,
        _Books(store, journal, told, Ledger(journal, told, len(wanted))),
        Waiting(inputs_too(steps), store.finished),
        memory or Memory(),
        goes_on,
    )
    on_stop = partial(told.message, "stopping: the steps save first; once more to leave at once")
    with store.in_use(), listening(on_stop=on_stop, on_leave=lead.leave) as stop, staff:
        clear_away(store, journal, told)
        lead.go(wanted, stop)
    return lead.books.ledger.summary()


@dataclass(frozen=True)
class _Books:
    """Where results are, and who is told what becomes of them."""

    store: Store
    journal: Journal
    listener: Listener
    ledger: Ledger


class _Lead:
    """One walk over a graph: who does what, and what is next."""

    def __init__(
        self,
        staff: Staff,
        books: _Books,
        waiting: Waiting,
        memory: Memory,
        goes_on: Callable[[Collection[Step]], bool],
    ) -> None:
        self.books = books
        self._staff = staff
        self._waiting = waiting
        self._memory = memory
        self._goes_on = goes_on
        self._starting: set[Hired] = set()
        self._idle: list[Hired] = []
        self._running: dict[Hired, _Job] = {}
        self._last: dict[Hired, Step] = {}
        self._steps: dict[str, Step] = {}
        self._deaths: Counter[Step] = Counter()
        self._damaged: Counter[Step] = Counter()
        self._reached: dict[Step, dict[str, float]] = {}  # by this attempt, in each unit
        self._furthest: dict[Step, dict[str, float]] = {}  # by those before
        self._failed_starts = 0
        self._hire_from = float("-inf")
        self._ending: Exception | None = None
        self._deadline = float("inf")
        self._alone_since = time.monotonic()

    def go(self, wanted: Sequence[Step], stop: Callable[[], bool]) -> None:
        """Have every step done that is wanted and not finished."""
        finished = {step: None for step in wanted if self.books.store.finished(step)}
        self.books.ledger.reused(finished)
        self._steps = {step.fingerprint: step for step in self._waiting.order}
        for step in wanted:
            if step not in finished:
                self._waiting.want(step)
        while self._running or (self._waiting.num_ready and self._ending is None):
            if stop() and self._ending is None:
                self._end(Interrupted("stopped before the last step; the same command goes on"))
            if self._ending is None:
                self._give_out()
            for hired, told in self._staff.listen(POLL_SECONDS):
                self._hear(hired, told)
            self._say_who_waits()
            if time.monotonic() > self._deadline:
                for hired in self._running:
                    hired.kill()
        if self._ending is not None:
            raise self._ending

    def _say_who_waits(self) -> None:
        """A cluster may have its room taken by others."""
        now = time.monotonic()
        if self._running or not self._starting:
            self._alone_since = now
        elif now - self._alone_since > PATIENCE_SECONDS:
            self._alone_since = float("inf")
            self.books.listener.message("waiting for a first worker to start")

    def leave(self, reason: str) -> None:
        """The last lines before the process leaves at once."""
        for hired, job in list(self._running.items()):
            hired.kill()
            self.books.journal.event("step interrupted", step=job.step.folder, reason=reason)

    def _give_out(self) -> None:
        """Give ready steps to idle workers; hire where there are too few."""
        for hired in list(self._idle):
            step = self._waiting.best(self._near(hired))
            if step is None or not self._fits(step):
                return
            self._waiting.take(step)
            self._idle.remove(hired)
            self._running[hired] = _Job(step, self._needed_bytes(step))
            hired.give(step.fingerprint)
        if self._running and time.monotonic() < self._hire_from:
            return
        living = len(self._running) + len(self._starting)
        lacking = min(self._staff.most - living, self._waiting.num_ready - len(self._starting))
        for _ in range(lacking):
            self._starting.add(self._staff.hire())

    def _near(self, hired: Hired) -> list[Step]:
        """Whose results a worker has in memory: the step it did last, and the model it read."""
        last = self._last.get(hired)
        if last is None:
            return []
        return [last, last.inputs[KEPT]] if KEPT in last.inputs else [last]

    def _needed_bytes(self, step: Step) -> float:
        alone = self._deaths[step] >= MAX_DEATHS - 1
        return float("inf") if alone else self._memory.of(step)

    def _fits(self, step: Step) -> bool:
        """Whether a step can run beside those that run; where none does, it is tried anyway."""
        taken = sum(job.needed_bytes for job in self._running.values())
        return not self._running or taken + self._needed_bytes(step) <= self._memory.room_bytes

    def _hear(self, hired: Hired, told: Told) -> None:
        books = self.books
        match told:
            case Ready():
                self._starting.discard(hired)
                self._failed_starts = 0
                self._idle.append(hired)
            case Started():
                job = self._running[hired]
                job.started = time.monotonic()
                position = len(books.ledger.outcomes) + self._num_started()
                books.ledger.started(job.step, position, worker=hired.name)
            case Moved():
                step = self._running[hired].step
                if told.total:
                    self._reached.setdefault(step, {})[told.unit] = told.done / told.total
                books.listener.progress(step, told.done, told.total, told.text, told.unit)
            case Noted():
                books.journal.event(told.kind, **told.fields)
            case Said():
                books.listener.message(told.text)
            case Ended():
                self._ended(hired, told)
            case Gone():
                self._gone(hired, told.reason)
            case Refused():
                self._end(RetainError(told.reason))

    def _num_started(self) -> int:
        return sum(job.started > 0 for job in self._running.values())

    def _ended(self, hired: Hired, ended: Ended) -> None:
        job = self._running.pop(hired)
        self._idle.append(hired)
        self._last[hired] = job.step
        if ended.fault is not None:
            error = as_error(ended.fault, self._steps)
            if job.started:
                self.books.ledger.failed(job.step, error, ended.seconds)
            self._failed(hired, job.step, error)
            return
        if ended.outcome == "finished":
            self.books.ledger.finished(job.step, ended.seconds, ended.num_bytes)
        else:
            self.books.ledger.reused([job.step])
        self._waiting.finished(job.step)

    def _failed(self, hired: Hired, step: Step, error: Exception) -> None:
        """A step was left with an error: repair, go on without it, or end."""
        ledger = self.books.ledger
        if self._ending is not None:
            return
        if isinstance(error, Interrupted):
            self._retry(hired, step, "it was told to leave")
        elif isinstance(error, DamagedStepError) and self._damaged[step] < MAX_DAMAGED:
            self._damaged[step] += 1
            ledger.damaged(error)
            self._waiting.again(step, after=[error.step])
        elif (
            isinstance(error, RetainError)
            and not isinstance(error, StoreError)  # the disk is the same for all steps
            and self._goes_on(ledger.failures)
        ):
            ledger.goes_on(step, error)
            self._waiting.drop(step)
        else:
            self._end(error)

    def _gone(self, hired: Hired, reason: str) -> None:
        job = self._running.pop(hired, None)
        self._last.pop(hired, None)
        if hired in self._idle:
            self._idle.remove(hired)
        if job is not None:
            if job.started:
                seconds = time.monotonic() - job.started
                self.books.ledger.failed(job.step, Interrupted(reason), seconds)
            if self._ending is None:
                self._retry(hired, job.step, reason)
        elif hired in self._starting:
            self._starting.remove(hired)
            self.books.journal.event("worker lost", worker=hired.name, reason=reason)
            self._start_failed(reason)

    def _start_failed(self, reason: str) -> None:
        """A worker died before it could take a step, as on a node that dies again and again."""
        self._failed_starts += 1
        if self._failed_starts < MAX_DEATHS or self._ending is not None:
            return
        told = f"{self._failed_starts} workers in a row died as they started: {reason}"
        if not self._running:
            self._end(RetainError(told))
            return
        self._hire_from = time.monotonic() + PAUSE_SECONDS
        left = len(self._running) + len(self._idle)
        self.books.listener.message(f"{told}\nGoing on with {left}; another is tried in a minute.")

    def _retry(self, hired: Hired, step: Step, reason: str) -> None:
        """A worker left a step in the middle: another one goes on, if not too many did."""
        self._deaths[step] = 1 if self._is_further(step) else self._deaths[step] + 1
        attempt, books = self._deaths[step], self.books
        books.journal.event(
            "worker lost",
            step=step.folder,
            worker=hired.name,
            reason=reason,
            attempt=attempt,
            attempts=MAX_DEATHS,
        )
        told = f"{step.folder}: {hired.name} is gone ({reason}), attempt {attempt} of {MAX_DEATHS}"
        if attempt < MAX_DEATHS:
            books.listener.message(f"{told}; another worker goes on with it")
            clear_away(books.store, books.journal, books.listener)
            self._waiting.again(step)
            return
        error = RetainError(
            f"{told}. What it saved stays. If memory ran out (SIGKILL), give fewer --jobs, a "
            "smaller max_length, or gradient_checkpointing."
        )
        books.ledger.failed(step, error, 0.0)
        self._failed(hired, step, error)

    def _is_further(self, step: Step) -> bool:
        """Whether the attempt that ended came further than all before it: a long step may go on."""
        reached, furthest = self._reached.pop(step, {}), self._furthest.setdefault(step, {})
        is_further = any(part >= furthest.get(u, 0.0) + PROGRESS for u, part in reached.items())
        furthest |= {u: max(part, furthest.get(u, 0.0)) for u, part in reached.items()}
        return is_further

    def _end(self, error: Exception) -> None:
        """Nothing more is begun; what runs saves and leaves."""
        self._ending = error
        self._deadline = time.monotonic() + GRACE_SECONDS
        for hired in self._running:
            hired.stop()


def inputs_too(steps: Sequence[Step]) -> list[Step]:
    """The steps in their order, and after them those that are only read."""
    return list(dict.fromkeys([*steps, *ordered(steps)]))
