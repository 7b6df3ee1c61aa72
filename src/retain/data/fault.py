"""What can be wrong with one place of a source, and how many such places stop a run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from retain.errors import DataError

MAX_FAULTS = 20
T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """One broken place.

    Attributes:
        where: ``file:line``, or ``source row N`` where there are no lines.
        kind: One of the words of :data:`KINDS`.
        text: What is wrong and what was expected.
    """

    where: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.text}"


KINDS = (
    "bad JSON",
    "wrong type",
    "missing column",
    "unknown format",
    "empty",
    "not UTF-8",
    "BOM",
    "over-long",
    "all tokens masked",
    "template",
    "duplicate",
)


class BadRow(Exception):  # noqa: N818 - becomes a Fault once the place is known
    """A row is broken; ``kind`` is one of :data:`KINDS`."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


def without_faults(items: Iterable[T | Fault], source: str) -> Iterator[T]:
    """The items, once it is known that no fault is among them.

    Reads on after a fault, so that one error names the first 20.

    Raises:
        DataError: If there is any fault; lists the first 20.
    """
    faults: list[Fault] = []
    for item in items:
        if not isinstance(item, Fault):
            if not faults:
                yield item
            continue
        faults.append(item)
        if len(faults) == MAX_FAULTS:
            break
    if faults:
        raise DataError(summary(faults, source))


def summary(faults: list[Fault], source: str) -> str:
    """The text of the error that lists the faults of a source."""
    more = " (the first ones)" if len(faults) >= MAX_FAULTS else ""
    lines = "\n".join(f"  {fault}" for fault in faults)
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return (
        f"{source}: {count}{more}:\n{lines}\n"
        f"Repair the source; `retain data check {source}` lists every fault."
    )
