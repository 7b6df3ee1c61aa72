"""Carry out a graph of steps in this process, one after the other, doing nothing twice."""

import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from retain.errors import Interrupted, RetainError, StoreError
from retain.execute.listener import Listener, Outcome, Quiet
from retain.execute.runners import Runner
from retain.execute.signals import listening
from retain.steps.clean import sweep
from retain.steps.entries import folder_bytes
from retain.steps.journal import Journal
from retain.steps.lock import Holder
from retain.steps.memory import give_back_memory
from retain.steps.step import Step
from retain.steps.store import DamagedStepError, Store

MAX_DAMAGED = 3
MAX_MESSAGE = 2000


@dataclass(frozen=True)
class Summary:
    """What became of a graph.

    Attributes:
        reused: Steps that were finished already.
        done: Steps that were computed.
        seconds: Wall-clock time of all of it.
        failed: Steps that failed, each with its error; what depends on them was not tried.
    """

    reused: tuple[Step, ...]
    done: tuple[Step, ...]
    seconds: float
    failed: Mapping[Step, RetainError] = field(default_factory=dict)


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
        for name in sweep(store):
            journal.event("leftover removed", path=name)
            told.message(f"removed {name}, left behind by a process that was killed")
        for step in wanted:
            walk.attempt(step, goes_on)
    return walk.summary()


def ordered(graph: Iterable[Step]) -> list[Step]:
    """Every step once, inputs before those that read them; else in the order given."""
    placed: dict[Step, None] = {}
    waiting = list(graph)[::-1]
    while waiting:
        missing = [step for step in waiting[-1].inputs.values() if step not in placed]
        if missing:
            waiting.extend(missing[::-1])
        else:
            placed.setdefault(waiting.pop())
    return list(placed)


def needed(
    graph: Iterable[Step], store: Store, targets: Collection[Step] | None = None
) -> list[Step]:
    """The steps a run touches, in order: the wanted ones, and what unfinished ones build on.

    Args:
        graph: All steps.
        store: Tells which are finished.
        targets: The wanted ones; default: all of the graph.
    """
    steps = list(graph)
    touched: set[Step] = set()
    waiting = list(steps if targets is None else targets)
    while waiting:
        step = waiting.pop()
        if step not in touched:
            touched.add(step)
            if not store.finished(step):
                waiting.extend(step.inputs.values())
    return [step for step in ordered(steps) if step in touched]


class _Walk:
    """One walk over a graph: what is done so far, and who is told."""

    def __init__(
        self, store: Store, run: Runner, journal: Journal, listener: Listener, total: int
    ) -> None:
        self.stop: Callable[[], bool] = lambda: False
        self._store = store
        self._run = run
        self._journal = journal
        self._listener = listener
        self._total = total
        self._outcomes: dict[Step, Outcome] = {}
        self._failures: dict[Step, RetainError] = {}
        self._lost: set[Step] = set()
        self._running: Step | None = None
        self._started = time.monotonic()

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
            if not goes_on(self._failures):
                raise
            self._lost |= {step, *self._failures}
            told = f"{step.folder}: {error}\nGoing on with what does not depend on it."
            self._listener.message(told)
            _let_go(error)
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
                self._journal.event("step damaged", step=error.step.folder, message=str(error))
                self._listener.message(str(error))
                self._outcomes.pop(error.step, None)
                self.ensure(error.step)
        if step not in self._outcomes:
            self._reuse(step)

    def summary(self) -> Summary:
        """What became of the steps, in the order they ended."""
        by_outcome = {
            outcome: tuple(step for step, got in self._outcomes.items() if got == outcome)
            for outcome in ("reused", "finished")
        }
        return Summary(
            reused=by_outcome["reused"],
            done=by_outcome["finished"],
            seconds=time.monotonic() - self._started,
            failed=dict(self._failures),
        )

    def leave(self, reason: str) -> None:
        """The last line before the process leaves at once."""
        folder = self._running.folder if self._running else ""
        self._journal.event("step interrupted", step=folder, reason=reason)

    def _reuse(self, step: Step) -> None:
        self._outcomes[step] = "reused"
        self._journal.event("step reused", step=step.folder, fingerprint=step.fingerprint)
        self._listener.done(step, "reused", 0.0)

    def _compute(self, step: Step) -> None:
        if self.stop():
            raise Interrupted(f"stopped before {step.folder}; the same command goes on")
        with self._store.lock(step, wait=self._waiter(step)):
            if self._store.finished(step):  # the process that was waited for did it
                return
            self._listener.start(step, len(self._outcomes) + 1, self._total)
            self._journal.event("step started", step=step.folder, fingerprint=step.fingerprint)
            self._running = step
            clock = time.monotonic()
            try:
                self._work(step)
            except Exception as error:
                self._failed(step, error, time.monotonic() - clock)
                raise
            finally:
                self._running = None
            seconds = time.monotonic() - clock
            num_bytes = folder_bytes(self._store.path(step))
            self._journal.event(
                "step finished", step=step.folder, seconds=round(seconds, 3), bytes=num_bytes
            )
            self._outcomes[step] = "finished"
            self._listener.done(step, "finished", seconds)
        give_back_memory()

    def _work(self, step: Step) -> None:
        progress = partial(self._listener.progress, step)
        with self._store.begin(step, self._journal, progress=progress, stop=self.stop) as work:
            self._run(work)

    def _failed(self, step: Step, error: Exception, seconds: float) -> None:
        outcome: Outcome = "interrupted" if isinstance(error, Interrupted) else "failed"
        self._listener.done(step, outcome, seconds)
        if isinstance(error, RetainError):
            self._failures[step] = error
        try:
            self._journal.event(
                f"step {outcome}",
                step=step.folder,
                seconds=round(seconds, 3),
                error=type(error).__name__,
                message=str(error)[:MAX_MESSAGE],
            )
        except StoreError as full:  # what stopped the step is what the user must hear of
            self._listener.message(str(full))

    def _waiter(self, step: Step) -> Callable[[Holder], None]:
        """Called while another process computes the step."""
        told = False

        def wait(holder: Holder) -> None:
            nonlocal told
            if self.stop():
                raise Interrupted(f"stopped waiting for {step.folder}; the same command goes on")
            if not told:
                self._listener.message(f"{step.folder}: {holder} computes it; waiting for that")
                told = True

        return wait


def _let_go(error: BaseException | None) -> None:
    """Empty the frames that an error and its causes hold: a model may be in them."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
