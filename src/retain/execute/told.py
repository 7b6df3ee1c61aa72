"""What a worker tells of the step it carries out; plain values, since they travel."""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field

from retain import errors
from retain.errors import RetainError
from retain.execute.listener import Outcome
from retain.steps.fingerprint import Json
from retain.steps.step import Step
from retain.steps.store import DamagedStepError

OF_A_USER = errors.__name__


@dataclass(frozen=True)
class Ready:
    """The worker can take a step.

    Attributes:
        name: Process and host, for people.
        versions: Of Python and libraries, where the worker runs.
    """

    name: str
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """The step is the worker's alone, and begins."""


@dataclass(frozen=True)
class Moved:
    """The step moved on; see ``Listener.progress``."""

    done: float
    total: float
    text: str
    unit: str


@dataclass(frozen=True)
class Noted:
    """An event for the journal."""

    kind: str
    fields: Mapping[str, Json]


@dataclass(frozen=True)
class Said:
    """Something a person should know."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The step ended.

    Attributes:
        outcome: ``reused`` if another process had finished it meanwhile.
        seconds: It took.
        num_bytes: It left.
        fault: Why it was interrupted or failed.
    """

    outcome: Outcome
    seconds: float = 0.0
    num_bytes: int = 0
    fault: "Fault | None" = None


@dataclass(frozen=True)
class Gone:
    """The worker is no more, and why."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """The worker cannot be used, nor can another one there."""

    reason: str


Told = Ready | Started | Moved | Noted | Said | Ended | Gone | Refused


@dataclass(frozen=True)
class Fault:
    """An error, to be raised again elsewhere.

    Attributes:
        kind: Its class, or the class of ``retain.errors`` above it.
        message: Its text.
        damaged: Fingerprint of the step that was found damaged; empty for other errors.
        traceback: Of an error that no user can cause; empty for others.
    """

    kind: str
    message: str
    damaged: str = ""
    traceback: str = ""


class UnforeseenError(Exception):
    """An error in a worker that no user can cause, with the traceback from there."""


def as_fault(error: Exception) -> Fault:
    """What of an error can travel."""
    if isinstance(error, DamagedStepError):
        return Fault("DamagedStepError", str(error), damaged=error.step.fingerprint)
    known = [one.__name__ for one in type(error).__mro__ if one.__module__ == OF_A_USER]
    if known:
        return Fault(known[0], str(error))
    lines = traceback.format_exception(error)
    return Fault(type(error).__name__, str(error), traceback="".join(lines))


def as_error(fault: Fault, steps: Mapping[str, Step]) -> Exception:
    """The error to raise.

    Args:
        fault: As it came.
        steps: Fingerprint to step.
    """
    if fault.damaged in steps:
        return DamagedStepError(steps[fault.damaged], fault.message)
    if fault.traceback:
        return UnforeseenError(f"{fault.kind} in a worker: {fault.message}\n{fault.traceback}")
    made: Exception = getattr(errors, fault.kind, RetainError)(fault.message)
    return made
