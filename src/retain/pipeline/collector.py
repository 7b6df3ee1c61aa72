"""Where the makers of steps put them: each step once, at the version that is wanted or accepted."""

from collections.abc import Callable, Mapping
from typing import Any

from retain.pipeline.kinds import KINDS
from retain.pipeline.resolve import Resolved
from retain.recipe import Cell
from retain.steps.step import Step, as_name


class Collector:
    """Collects steps; one that is already there is not added again.

    Args:
        resolved: The recipe with all outside facts.
        accept: Whether the result of an older version of a step may stand for it.

    Attributes:
        steps: In the order in which they were first asked for.
    """

    def __init__(self, resolved: Resolved, accept: Callable[[Step], bool]) -> None:
        self.resolved = resolved
        self.accept = accept
        self.steps: dict[Step, None] = {}

    def add(self, kind: str, name: str, settings: Mapping[str, Any], **parts: Any) -> Step:
        """A step of a kind, at the kind's version or at an older one that is accepted."""
        newest = KINDS[kind].version
        versions = [Step(kind, as_name(name), v, settings, **parts) for v in range(newest, 0, -1)]
        step = next((old for old in versions[1:] if self.accept(old)), versions[0])
        self.steps.setdefault(step)
        return step

    def base_files(self, cell: Cell) -> dict[str, str]:
        """The base model among a step's outside files."""
        return {"model": self.resolved.model(cell)["sha256"]}

    def of_base(self, cell: Cell) -> dict[str, Any]:
        """What a step says of the base model where the first phase starts from it in 4 bits."""
        return {"quantisation": "nf4"} if cell.phases[0].train.tuning == "qlora" else {}
