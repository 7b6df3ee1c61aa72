"""Which row of a score matrix each step of a plan belongs to."""

from collections.abc import Iterator

from retain.estimate.known import SIFT
from retain.pipeline.graph import Graph, Row
from retain.pipeline.recovery_steps import Retune
from retain.steps.step import Step


def rows_of_steps(graph: Graph) -> dict[Step, Row]:
    """Step to a row that it is of; steps of data have none."""
    rows = (*graph.rows, *map(_as_row, graph.retunes))
    return {step: row for row in rows for step in _steps_of(row)}


def _as_row(one: Retune) -> Row:
    """A brief retune as the row it would be, were it a phase."""
    return Row(
        variant=one.variant,
        arm=one.arm,
        seed=one.seed,
        phase_index=one.phase_index,
        phase=one.planned.name,
        train=one.train,
        mix=one.mix,
        model=one.train,
        evaluations={one.task: one.evaluation},
        planned=one.planned,
    )


def _steps_of(row: Row) -> Iterator[Step]:
    corpora = [one for one in row.mix.inputs.values() if one.kind == SIFT] if row.mix else []
    written = [one.inputs["written"] for one in corpora]
    beside = (*row.inside, *row.draws.values(), row.unquantised)
    inside = [step for one in beside for step in one.values()]
    for step in (row.train, row.model, *written, *row.evaluations.values(), *inside):
        if step is not None:
            yield step
        if step is not None and "boundary" in step.inputs:
            yield step.inputs["boundary"]
