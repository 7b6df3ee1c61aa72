"""Batches that are done, kept on disk, so that a killed evaluation goes on where it was.

One file a plan: a first line that names the plan, then a line per finished batch. JSON spells a
float so that reading gives the same bits, hence a resumed evaluation ends with the same scores.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from retain.errors import Interrupted
from retain.steps.durable import write_file
from retain.steps.lines import add_lines, whole_lines

Batch = TypeVar("Batch")
RAN_OUT = -1  # stands in a file where the index of a batch stands
Progress = Callable[[float, float, str, str], None]
"""Called with done, total, text, unit."""


def silent(done: float, total: float, text: str, unit: str) -> None:
    """Progress that nobody watches."""


def never() -> bool:
    """A stop that never comes."""
    return False


@dataclass
class Ledger:
    """Runs a plan's batches, skipping those a former process finished.

    Attributes:
        folder: Where finished batches are kept; None keeps nothing.
        progress: Told how far it is.
        stop: Asked between batches.
    """

    folder: Path | None = None
    progress: Progress = silent
    stop: Callable[[], bool] = never
    _files: dict[str, Path] = field(default_factory=dict)

    def run(
        self,
        name: str,
        plan: Sequence[Batch],
        cost: Callable[[Batch], int],
        compute: Callable[[Batch], list[Any]],
        *,
        identity: Any,
        unit: str = "tokens",
    ) -> Iterator[tuple[Batch, list[Any]]]:
        """Each batch with its results, in the order of the plan.

        Args:
            name: Which part of the evaluation this is, a word; shown beside the bar.
            plan: What is to be computed; the same in every process that goes on with it.
            cost: What a batch counts in the progress.
            compute: The results of a batch, JSON values.
            identity: JSON value of everything the plan's results depend on.
            unit: What ``cost`` counts.

        Raises:
            Interrupted: If ``stop()`` came true; what is finished is kept.
            MemoryError: Where ``keep_ran_out`` was called by a former process.
        """
        finished = self._finished(name, identity)
        ran_out = finished.pop(RAN_OUT, None) is not None
        total = sum(map(cost, plan))
        done = 0
        for index, batch in enumerate(plan):
            if index not in finished:
                if ran_out:
                    raise MemoryError(f"{name}: memory ran out here in a former process")
                if self.stop():
                    raise Interrupted(
                        f"{name}: stopped after {index} of {len(plan)} batches; the same command "
                        "goes on"
                    )
                finished[index] = compute(batch)
                self._keep(name, index, finished[index])
            done += cost(batch)
            self.progress(done, total, name, unit)
            yield batch, finished[index]

    def keep_ran_out(self, name: str) -> None:
        """Keep that memory ran out for what is left of a plan, which is then planned anew."""
        self._keep(name, RAN_OUT, [])

    def _finished(self, name: str, identity: Any) -> dict[int, list[Any]]:
        """What a former process left for the same plan; a file of another plan is started anew."""
        if self.folder is None:
            return {}
        digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        path = self._files[name] = self.folder / f"{name.replace(' ', '-')}.jsonl"
        lines = list(whole_lines(path))
        if lines and lines[0] == {"plan": digest}:
            return {line["batch"]: line["results"] for line in lines[1:]}
        write_file(path, json.dumps({"plan": digest}) + "\n")
        return {}

    def _keep(self, name: str, index: int, results: list[Any]) -> None:
        if self.folder is None:
            return
        add_lines(self._files[name], [{"batch": index, "results": results}])
