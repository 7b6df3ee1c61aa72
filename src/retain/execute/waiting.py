"""Which steps of a graph wait for which others, and which can be begun."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from retain.steps.step import Step


class Waiting:
    """The steps of a run that are still to be done.

    A step is *wanted* from ``want`` until ``finished`` or ``drop``: it waits for others, is ready,
    or was taken by somebody.

    Args:
        order: All steps of the graph, the more urgent first.
        is_finished: Whether a step that is not wanted needs no doing.

    Attributes:
        order: As given.
    """

    def __init__(self, order: Sequence[Step], is_finished: Callable[[Step], bool]) -> None:
        self.order = order
        self._is_finished = is_finished
        self._places = {step: place for place, step in enumerate(order)}
        self._readers: dict[Step, list[Step]] = defaultdict(list)
        for step in order:
            for source in dict.fromkeys(step.inputs.values()):
                self._readers[source].append(step)
        self._done: set[Step] = set()
        self._wanted: set[Step] = set()
        self._missing: dict[Step, set[Step]] = {}
        self._ready: list[int] = []
        self._ready_readers: dict[Step, dict[Step, None]] = defaultdict(dict)

    @property
    def num_ready(self) -> int:
        """Steps that can be begun at this moment."""
        return len(self._ready)

    def want(self, step: Step) -> None:
        """A step is to be done, and before it whatever it reads that is not finished."""
        found = [step]
        while found:
            one = found.pop()
            if one not in self._wanted:
                self._wanted.add(one)
                self._done.discard(one)
                missing = {source for source in one.inputs.values() if not self._is_done(source)}
                found.extend(missing)
                self._await(one, missing)

    def best(self, near: Iterable[Step] = ()) -> Step | None:
        """The ready step to begin with: one that reads a near step, else the most urgent.

        Args:
            near: Steps whose results are at hand where it will be done.
        """
        for source in near:
            for reader in self._ready_readers[source]:
                return reader
        return self.order[self._ready[0]] if self._ready else None

    def take(self, step: Step) -> None:
        """A ready step is begun."""
        place = bisect_left(self._ready, self._places[step])
        assert self.order[self._ready[place]] == step
        del self._ready[place]
        for source in step.inputs.values():
            self._ready_readers[source].pop(step, None)

    def again(self, step: Step, after: Iterable[Step] = ()) -> None:
        """A step that was taken is to be done once more, when those it needs are done again."""
        missing = set(after)
        for source in missing:
            self.want(source)
        self._await(step, missing)

    def finished(self, step: Step) -> None:
        """A step that was taken is done."""
        self._wanted.discard(step)
        self._done.add(step)
        for reader in self._readers[step]:
            if step in self._missing.get(reader, ()):
                self._await(reader, self._missing[reader] - {step})

    def drop(self, step: Step) -> None:
        """A step that was taken is given up, and whatever waits for it."""
        found = [step]
        while found:
            one = found.pop()
            self._wanted.discard(one)
            self._missing.pop(one, None)
            found.extend(
                reader for reader in self._readers[one] if one in self._missing.get(reader, ())
            )

    def _await(self, step: Step, missing: set[Step]) -> None:
        """A wanted step waits for others, or is ready."""
        if missing:
            self._missing[step] = missing
            return
        self._missing.pop(step, None)
        insort(self._ready, self._places[step])
        for source in step.inputs.values():
            self._ready_readers[source][step] = None

    def _is_done(self, step: Step) -> bool:
        if step not in self._done and step not in self._wanted and self._is_finished(step):
            self._done.add(step)
        return step in self._done
