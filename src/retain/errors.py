"""What a user can do wrong, and what the world can do to a run.

Every error a caller can meet is one of these; ``cli`` turns them into text and an exit code::

    RetainError                   exit 1: a message, no traceback
    ├── RecipeError               a recipe or override asks for what cannot be; all faults at once
    ├── DataError                 a source is missing, broken, empty or too small
    ├── ModelError                a model is not found, does not load, or cannot do what is asked
    ├── TaskError                 an evaluation task is unknown or cannot be scored
    ├── EmbeddedError             an embedded package cannot be fetched or is not what it should be
    ├── TrainingError             training cannot go on (nothing to train on, NaN, out of memory)
    └── StoreError                the runs folder: locked, full, not writable, damaged
    GateFailed                    exit 2: a `fail_if` of the recipe came true
    Interrupted                   exit 130: stopped on a signal; the same command goes on
"""

from difflib import get_close_matches


class RetainError(Exception):
    """A mistake or a fault that a message explains: place, value, what is allowed, what to do."""


class RecipeError(RetainError):
    """A recipe or an override is wrong; the message lists every fault found."""


class DataError(RetainError):
    """A data source is missing, broken, empty or too small for what is asked."""


class ModelError(RetainError):
    """A model is not found, cannot be loaded, or cannot do what is asked."""


class TaskError(RetainError):
    """An evaluation task is unknown, has no items, or cannot be scored here."""


class EmbeddedError(RetainError):
    """An embedded package cannot be fetched, or is not what the table says."""


class TrainingError(RetainError):
    """Training cannot start or go on; what was saved before stays."""


class StoreError(RetainError):
    """The runs folder is locked, full, not writable or damaged."""


class GateFailed(Exception):  # noqa: N818 - an outcome that sets the exit code, not an error
    """A condition of the recipe's ``fail_if`` came true."""


class Interrupted(Exception):  # noqa: N818 - an outcome that sets the exit code, not an error
    """A signal stopped the run at a safe point; the same command continues it."""


def did_you_mean(kind: str, got: str, known: list[str]) -> str:
    """One sentence that names an unknown word, the nearest known one and all the known ones.

    >>> did_you_mean("method", "frieze", ["freeze", "joint"])
    "unknown method 'frieze'. Did you mean 'freeze'? Known: freeze, joint."
    """
    close = get_close_matches(got, known, n=1, cutoff=0.5)
    close = close or [word for word in known if len(got) > 2 and got in word]
    guess = f" Did you mean '{close[0]}'?" if close else ""
    return f"unknown {kind} '{got}'.{guess} Known: {', '.join(sorted(known))}."
