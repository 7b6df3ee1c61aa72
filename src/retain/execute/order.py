"""Which steps a run touches, and in which order they are best begun."""

from collections.abc import Callable, Collection, Iterable

from retain.steps.step import Step
from retain.steps.store import Store


def ordered(graph: Iterable[Step]) -> list[Step]:
    """Every step once, inputs before those that read them; else in the order given."""
    placed: dict[Step, None] = {}
    waiting = list(graph)[::-1]
    while waiting:
        missing = [step for step in waiting[-1].inputs.values() if step not in placed]
        if missing:
            waiting.extend(missing[::-1])
        else:
            placed.setdefault(waiting.pop())
    return list(placed)


def needed(
    graph: Iterable[Step], store: Store, targets: Collection[Step] | None = None
) -> list[Step]:
    """The steps a run touches, in order: the wanted ones, and what unfinished ones build on.

    Args:
        graph: All steps.
        store: Tells which are finished.
        targets: The wanted ones; default: all of the graph.
    """
    steps = list(graph)
    touched: set[Step] = set()
    waiting = list(steps if targets is None else targets)
    while waiting:
        step = waiting.pop()
        if step not in touched:
            touched.add(step)
            if not store.finished(step):
                waiting.extend(step.inputs.values())
    return [step for step in ordered(steps) if step in touched]


def by_urgency(
    graph: Iterable[Step], at_once: Callable[[Step], bool] = lambda step: False
) -> list[Step]:
    """The order for several workers: first what the longest chain of other steps waits for.

    Args:
        graph: The steps.
        at_once: Steps to begin with, in the order given, however little waits for them.
    """
    steps = ordered(graph)
    chain = dict.fromkeys(steps, 0)
    for step in reversed(steps):
        for source in step.inputs.values():
            chain[source] = max(chain[source], chain[step] + 1)
    return sorted(steps, key=lambda step: (not at_once(step), -chain[step]))
