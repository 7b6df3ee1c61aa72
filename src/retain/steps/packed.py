"""A graph as flat rows, so that it can be sent: steps nested in steps are too deep for that."""

from collections.abc import Iterable
from dataclasses import dataclass

from retain.steps.fingerprint import Json
from retain.steps.step import Step


@dataclass(frozen=True)
class Packed:
    """One step of a packed graph.

    Attributes:
        identity: Kind, name and version.
        settings: As the step's.
        inputs: Role to the place, among all rows, of the step that is read.
        files: As the step's.
    """

    identity: tuple[str, str, int]
    settings: dict[str, Json]
    inputs: dict[str, int]
    files: dict[str, str]


def pack(steps: Iterable[Step]) -> tuple[Packed, ...]:
    """A row for each step.

    Args:
        steps: Every step after those it reads.

    Raises:
        KeyError: If a step comes before one that it reads.
    """
    places: dict[Step, int] = {}
    rows = []
    for step in steps:
        inputs = {role: places[source] for role, source in step.inputs.items()}
        identity = (step.kind, step.name, step.version)
        rows.append(Packed(identity, dict(step.settings), inputs, dict(step.files)))
        places[step] = len(places)
    return tuple(rows)


def unpack(rows: Iterable[Packed]) -> list[Step]:
    """The steps of the rows, in their order; fingerprints are computed anew."""
    steps: list[Step] = []
    for row in rows:
        inputs = {role: steps[place] for role, place in row.inputs.items()}
        steps.append(Step(*row.identity, row.settings, inputs, row.files))
    return steps
