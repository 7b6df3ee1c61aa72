"""What became of each step of a run, told to the journal and to whoever listens."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from retain.errors import Interrupted, RetainError, StoreError
from retain.execute.listener import Listener, Outcome
from retain.steps.fingerprint import Json
from retain.steps.journal import Journal
from retain.steps.step import Step
from retain.steps.store import DamagedStepError

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


class Ledger:
    """The books of one walk over a graph.

    Args:
        journal: Gets a line for whatever happens to a step.
        listener: Told of it.
        total: Steps that the run needs.

    Attributes:
        outcomes: Steps that are finished or were reused, in that order.
        failures: Steps that failed; what was found damaged is repaired instead.
    """

    def __init__(self, journal: Journal, listener: Listener, total: int) -> None:
        self.outcomes: dict[Step, Outcome] = {}
        self.failures: dict[Step, RetainError] = {}
        self._journal = journal
        self._listener = listener
        self._total = total
        self._clock = time.monotonic()

    def reused(self, steps: Iterable[Step]) -> None:
        """Steps are finished by somebody else, or were before."""
        found = list(steps)
        self._journal.events(
            ("step reused", {"step": step.folder, "fingerprint": step.fingerprint})
            for step in found
        )
        for step in found:
            self.outcomes[step] = "reused"
            self._listener.done(step, "reused", 0.0)

    def started(self, step: Step, position: int, **more: Json) -> None:
        """A step begins, as the ``position``-th; ``more`` goes to the journal."""
        self._listener.start(step, position, self._total)
        self._journal.event("step started", step=step.folder, fingerprint=step.fingerprint, **more)

    def finished(self, step: Step, seconds: float, num_bytes: int) -> None:
        """A step is done."""
        self._journal.event(
            "step finished", step=step.folder, seconds=round(seconds, 3), bytes=num_bytes
        )
        self.outcomes[step] = "finished"
        self._listener.done(step, "finished", seconds)

    def failed(self, step: Step, error: Exception, seconds: float) -> None:
        """A step ended with an error, or was interrupted."""
        outcome: Outcome = "interrupted" if isinstance(error, Interrupted) else "failed"
        self._listener.done(step, outcome, seconds)
        if isinstance(error, RetainError) and not isinstance(error, DamagedStepError):
            self.failures[step] = error
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

    def damaged(self, error: DamagedStepError) -> None:
        """A finished step turned out to be damaged, and has to be computed again."""
        self._journal.event("step damaged", step=error.step.folder, message=str(error))
        self._listener.message(str(error))
        self.outcomes.pop(error.step, None)

    def goes_on(self, step: Step, error: Exception) -> None:
        """A step failed, and others are carried out all the same."""
        told = f"{step.folder}: {error}\nGoing on with what does not depend on it."
        self._listener.message(told)

    def summary(self) -> Summary:
        """What became of the steps, in the order they ended."""
        by_outcome = {
            outcome: tuple(step for step, got in self.outcomes.items() if got == outcome)
            for outcome in ("reused", "finished")
        }
        return Summary(
            reused=by_outcome["reused"],
            done=by_outcome["finished"],
            seconds=time.monotonic() - self._clock,
            failed=dict(self.failures),
        )
