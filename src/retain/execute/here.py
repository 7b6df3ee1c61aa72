"""Carry out a graph of steps in this process, one after the other, doing nothing twice."""

import time
from collections.abc import Callable, Collection, Iterable
from functools import partial

from retain.errors import Interrupted, RetainError, StoreError
from retain.execute.ledger import Ledger, Summary
from retain.execute.listener import Listener, Quiet
from retain.execute.order import needed
from retain.execute.runners import Runner
from retain.execute.signals import listening
from retain.steps.clean import sweep
from retain.steps.entries import folder_bytes
from retain.steps.journal import Journal
from retain.steps.lock import Holder
from retain.steps.memory import give_back_memory, let_go
from retain.steps.step import Step
from retain.steps.store import DamagedStepError, Store

MAX_DAMAGED = 3


def carry_out(  # noqa: PLR0913 - each by its name
    graph: Iterable[Step],
    store: Store,
    *,
    run: Runner,
    journal: Journal,
    listener: Listener | None = None,
    targets: Collection[Step] | None = None,
    goes_on: Callable[[Collection[Step]], bool] = lambda failed: False,
) -> Summary:
    """Finish every step that is wanted.

    A step that another process computes is waited for and reused. An input found damaged is
    computed again. The first SIGINT or SIGTERM lets the running step save.

    Args:
        graph: The steps, in the order to do them; inputs come first whatever the order.
        store: Where results are and go.
        run: Does one step.
        journal: Gets a line for every step.
        listener: Told of progress; default: nobody.
        targets: The steps whose results are wanted; default: all. Others are computed only if
            something needs them, so what was removed on purpose is not computed again.
        goes_on: Asked after a step failed, with all that failed: whether the steps that do not
            depend on them are still wanted. Default: never. A fault of the store ends it always.

    Raises:
        Interrupted: After a signal; the same call goes on from there.
        RetainError: Whatever a step raised, unless it goes on; what was finished before stays.
    """
    wanted = needed(graph, store, targets)
    told = listener or Quiet()
    walk = _Walk(store, run, journal, told, total=len(wanted))
    on_stop = partial(told.message, "stopping: the step saves first; once more to leave at once")
    with store.in_use(), listening(on_stop=on_stop, on_leave=walk.leave) as stop:
        walk.stop = stop
        clear_away(store, journal, told)
        for step in wanted:
            walk.attempt(step, goes_on)
    return walk.ledger.summary()


def clear_away(store: Store, journal: Journal, listener: Listener) -> None:
    """Remove what killed processes left in the store, and say so."""
    for name in sweep(store):
        journal.event("leftover removed", path=name)
        listener.message(f"removed {name}, left behind by a process that was killed")


class _Walk:
    """One walk over a graph: what is done so far, and who is told."""

    def __init__(
        self, store: Store, run: Runner, journal: Journal, listener: Listener, total: int
    ) -> None:
        self.stop: Callable[[], bool] = lambda: False
        self.ledger = Ledger(journal, listener, total)
        self._store = store
        self._run = run
        self._journal = journal
        self._listener = listener
        self._lost: set[Step] = set()
        self._running: Step | None = None

    def attempt(self, step: Step, goes_on: Callable[[Collection[Step]], bool]) -> None:
        """Finish a step, unless it depends on one that failed."""
        if not self._store.finished(step) and self._lost.intersection(step.inputs.values()):
            self._lost.add(step)
            return
        try:
            self.ensure(step)
        except StoreError:  # the disk is the same for all steps
            raise
        except RetainError as error:
            if not goes_on(self.ledger.failures):
                raise
            self._lost |= {step, *self.ledger.failures}
            self.ledger.goes_on(step, error)
            let_go(error)
            give_back_memory()

    def ensure(self, step: Step) -> None:
        """Finish a step and, where they are missing, its inputs."""
        num_damaged = 0
        while not self._store.finished(step):
            for source in step.inputs.values():
                self.ensure(source)
            try:
                self._compute(step)
            except DamagedStepError as error:
                num_damaged += 1
                if num_damaged > MAX_DAMAGED:
                    raise
                self.ledger.damaged(error)
                self.ensure(error.step)
        if step not in self.ledger.outcomes:
            self.ledger.reused([step])

    def leave(self, reason: str) -> None:
        """The last line before the process leaves at once."""
        folder = self._running.folder if self._running else ""
        self._journal.event("step interrupted", step=folder, reason=reason)

    def _compute(self, step: Step) -> None:
        if self.stop():
            raise Interrupted(f"stopped before {step.folder}; the same command goes on")
        with self._store.lock(step, wait=waiter(step, self._listener.message, self.stop)):
            if self._store.finished(step):  # the process that was waited for did it
                return
            self.ledger.started(step, len(self.ledger.outcomes) + 1)
            self._running = step
            clock = time.monotonic()
            try:
                self._work(step)
            except Exception as error:
                self.ledger.failed(step, error, time.monotonic() - clock)
                raise
            finally:
                self._running = None
            seconds = time.monotonic() - clock
            self.ledger.finished(step, seconds, folder_bytes(self._store.path(step)))
        give_back_memory()

    def _work(self, step: Step) -> None:
        progress = partial(self._listener.progress, step)
        with self._store.begin(step, self._journal, progress=progress, stop=self.stop) as work:
            self._run(work)


def waiter(
    step: Step, say: Callable[[str], None], stop: Callable[[], bool]
) -> Callable[[Holder], None]:
    """What is called while another process computes a step: it says so once."""
    told = False

    def wait(holder: Holder) -> None:
        nonlocal told
        if stop():
            raise Interrupted(f"stopped waiting for {step.folder}; the same command goes on")
        if not told:
            say(f"{step.folder}: {holder} computes it; waiting for that")
            told = True

    return wait
