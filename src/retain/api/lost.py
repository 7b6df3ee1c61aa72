"""The arms of a graph that can still be finished after steps failed."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retain.api.prepared import Lost, Prepared
from retain.errors import RetainError
from retain.execute import ordered
from retain.pipeline.data_steps import is_of_data
from retain.pipeline.graph import Graph, Row
from retain.pipeline.resolve import Resolved
from retain.steps.journal import read_journal
from retain.steps.step import Step


@dataclass(frozen=True)
class Left:
    """What is left of a run.

    Attributes:
        resolved: Without the arms that were lost.
        graph: Likewise, with the steps that the other arms need.
        lost: Arm to the steps that failed and that it needs.
    """

    resolved: Resolved
    graph: Graph
    lost: Mapping[str, tuple[Step, ...]]


def can_go_on(graph: Graph, failed: Collection[Step]) -> bool:
    """Whether some arm can still be finished, and what failed is no fault of the data.

    What reads data alone comes before all training: nothing is lost by stopping there.
    """
    if any(is_of_data(step) for step in failed):
        return False
    return len(_lost(graph, failed)) < len({row.arm for row in graph.rows})


def without_lost(resolved: Resolved, graph: Graph, failed: Collection[Step]) -> Left:
    """The run without the arms that need a step that failed, of any seed and variant."""
    lost = _lost(graph, failed)
    rows = tuple(row for row in graph.rows if row.arm not in lost)
    needed = [step for row in rows for step in _steps_of(row)]
    retunes = tuple(one for one in graph.retunes if one.arm not in lost)
    needed += [one.evaluation for one in retunes]
    needed += [step for step in graph.steps if step.kind == "leak"]
    kept = set(ordered(needed))
    left = replace(
        graph,
        rows=rows,
        retunes=retunes,
        steps=tuple(step for step in graph.steps if step in kept),
        sources={step: of for step, of in graph.sources.items() if step in kept},
    )
    cells = tuple(cell for cell in resolved.cells if cell.arm not in lost)
    return Left(replace(resolved, cells=cells), left, lost)


def cut(prepared: Prepared, failed: Mapping[Step, RetainError]) -> Prepared:
    """The same without the arms that need a step that failed; each is told with its reason."""
    left = without_lost(prepared.resolved, prepared.graph, failed)
    cells = {cell.arm: cell for cell in reversed(prepared.resolved.cells)}
    lost = tuple(
        Lost(cells[arm], " ".join(_told(step, failed[step]) for step in steps))
        for arm, steps in left.lost.items()
    )
    return replace(prepared, resolved=left.resolved, graph=left.graph, lost=lost)


def failures(prepared: Prepared, journal: Path) -> dict[Step, RetainError]:
    """Unfinished steps that failed when they were last tried, by the journal of the run."""
    last = {
        str(event["step"]): event
        for event in read_journal(journal)
        if event["event"].startswith("step ") and "step" in event
    }
    return {
        step: RetainError(str(last[step.folder].get("message", "")))
        for step in prepared.graph.steps
        if not prepared.store.finished(step)
        and last.get(step.folder, {}).get("event") == "step failed"
    }


def without_gates(recipe: Mapping[str, Any], lost: Collection[str]) -> dict[str, Any]:
    """The recipe without conditions on arms that were lost: the run fails for them anyway.

    >>> without_gates({"fail_if": [{"arms": ["a", "b"]}, {"arms": ["b"]}, {}]}, {"b"})
    {'fail_if': [{'arms': ['a']}, {}]}
    """
    gates = []
    for gate in recipe.get("fail_if") or ():
        arms = [arm for arm in gate.get("arms") or () if arm not in lost]
        if arms:
            gates.append({**gate, "arms": arms})
        elif not gate.get("arms"):
            gates.append(gate)
    return {**recipe, "fail_if": gates}


def _told(step: Step, error: RetainError) -> str:
    """What failed, and the first line of why: the rest holds samples, which the command said."""
    first = str(error).partition("\n")[0]
    return f"{step.kind} {step.name}: {first}"


def failure(failed: Mapping[Step, RetainError]) -> RetainError:
    """What is raised once the other arms are reported: the one error, or one that lists all."""
    errors = list(failed.values())
    if len(errors) == 1:
        return errors[0]
    return RetainError("\n".join(f"{step.folder}: {error}" for step, error in failed.items()))


def _lost(graph: Graph, failed: Collection[Step]) -> dict[str, tuple[Step, ...]]:
    """Arm to the failed steps that it needs."""
    found: dict[str, dict[Step, None]] = {}
    steps_of = [(row.arm, list(_steps_of(row))) for row in graph.rows]
    steps_of += [(one.arm, [one.evaluation]) for one in graph.retunes]
    for arm, steps in steps_of:
        for step in ordered(steps):
            if step in failed:
                found.setdefault(arm, {}).setdefault(step)
    return {arm: tuple(steps) for arm, steps in found.items()}


def _steps_of(row: Row) -> Iterator[Step]:
    """The steps whose results a row shows."""
    inside = [step for one in row.inside for step in one.values()]
    inside += [step for one in (*row.draws.values(), row.unquantised) for step in one.values()]
    scored = (*row.evaluations.values(), *inside, *row.probes.values(), *row.judged.values())
    for step in (row.train, row.mix, row.model, *scored):
        if step is not None:
            yield step
