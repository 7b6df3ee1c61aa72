"""What each step needs while a graph is carried out: how many of them fit at once."""

from retain.estimate.known import Known
from retain.estimate.lines import Lines, memory_of_all, reading_bytes
from retain.estimate.rows import rows_of_steps
from retain.pipeline.graph import Graph
from retain.pipeline.resolve import Resolved
from retain.steps.step import Step
from retain.steps.store import Store

OF_DATA = ("data", "mix", "leak", "sift")
UNKNOWN_MIX = {"num_steps": 1, "num_examples": 1, "num_tokens": 2**40, "trained_tokens": 2**40}
"""Of a mix that is not written yet: every micro-batch is full, every token trained."""


class Needs:
    """The memory of steps, by the plan's own numbers; nothing is timed for it.

    Args:
        resolved: The recipe with all outside facts.
        graph: Its steps.
        store: What is finished.
    """

    def __init__(self, resolved: Resolved, graph: Graph, store: Store) -> None:
        self._known = Known(resolved, graph, store, store)
        self._lines = Lines(self._known)
        self._rows = rows_of_steps(graph)
        self._found: dict[Step, int] = {}

    def memory_bytes(self, step: Step) -> int:
        """The most memory that a step takes, its process included."""
        if step not in self._found:
            self._found[step] = self._memory_bytes(step)
        return self._found[step]

    def _memory_bytes(self, step: Step) -> int:
        from retain.model.facts import describe
        from retain.train.estimate import PROCESS_BYTES, training_memory_bytes

        if step.kind in OF_DATA or (step.kind == "judge" and "judge" not in step.files):
            return int(PROCESS_BYTES)  # a judge behind a server takes none here
        if step.kind == "judge":
            return reading_bytes(describe(step.settings["model"]))
        row = self._rows.get(step)
        if step.kind == "train" and row is not None and row.mix is not None:
            is_written = self._known.store.finished(row.mix)
            mix = self._known.mix_facts(row.mix) if is_written else UNKNOWN_MIX
            phase = self._lines.phase(step, row, mix)
            of_one = training_memory_bytes(self._known.facts(row), phase)
            assert row.planned is not None
            return memory_of_all(of_one, row.planned.train)
        return max(reading_bytes(describe(*model)) for model in self._known.resolved.models)
