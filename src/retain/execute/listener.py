"""Who is told how a run goes: the terminal, a notebook, a test."""

from typing import Literal, Protocol

from retain.steps.step import Step

Outcome = Literal["finished", "reused", "failed", "interrupted"]


class Listener(Protocol):
    """What the executor calls; ``message`` may come from another thread."""

    def start(self, step: Step, position: int, total: int) -> None:
        """A step begins; it is the ``position``-th (from 1) of ``total`` that the run needs."""

    def progress(self, step: Step, done: float, total: float, text: str, unit: str) -> None:
        """The running step moved on; ``total`` is 0 when unknown."""

    def done(self, step: Step, outcome: Outcome, seconds: float) -> None:
        """A step ended; a reused one was never started and took no time."""

    def message(self, text: str) -> None:
        """Something a person should know: waiting for another process, damage, stopping."""


class Quiet:
    """Listens and says nothing."""

    def start(self, step: Step, position: int, total: int) -> None:
        """Say nothing."""

    def progress(self, step: Step, done: float, total: float, text: str, unit: str) -> None:
        """Say nothing."""

    def done(self, step: Step, outcome: Outcome, seconds: float) -> None:
        """Say nothing."""

    def message(self, text: str) -> None:
        """Say nothing."""
