"""What a run would do and cost, before anything is trained or scored: ``retain plan``.

Data is read and mixed for real, in a folder that is thrown away, because only that tells how many
tokens a phase has and whether its shares can be. Weights are counted from the model's
configuration. Times follow from these and a short probe of the machine; a step that was finished
before is not in them.
"""

import tempfile
from pathlib import Path

from retain.estimate.choice import foreseen
from retain.estimate.known import Known, without_corpora
from retain.estimate.lines import Lines
from retain.estimate.needs import Needs
from retain.estimate.plan import Line, Plan, Visible
from retain.estimate.rows import rows_of_steps
from retain.execute import carry_out
from retain.measure.statistics import planned_visible_change
from retain.pipeline.graph import Graph
from retain.pipeline.resolve import Resolved
from retain.pipeline.runners import Runners
from retain.steps.journal import Journal
from retain.steps.store import Store

__all__ = ["Line", "Needs", "Plan", "Visible", "foreseen", "make_plan"]


def make_plan(resolved: Resolved, graph: Graph, store: Store) -> Plan:
    """The plan of a graph; trains and scores nothing.

    Raises:
        RetainError: If data is broken, shares cannot be, or a model is not there.
    """
    with tempfile.TemporaryDirectory(prefix="retain-plan-") as folder:
        known = Known(resolved, graph, store, Store(Path(folder) / "steps"))
        _prepare(known, Path(folder))
        return _plan(known)


def _prepare(known: Known, folder: Path) -> None:
    """Read and mix what is not finished yet."""
    new = [step for step in known.graph.steps if not known.store.finished(step)]
    wanted = [without_corpora(step)[0] for step in new if step.kind in ("data", "mix")]
    if wanted:
        journal = Journal(folder / "journal.jsonl")
        runners = Runners(known.resolved, known.graph)
        carry_out(wanted, known.scratch, run=runners, journal=journal)


def _plan(known: Known) -> Plan:
    row_of = rows_of_steps(known.graph)
    maker = Lines(known)
    lines = [
        Line(step=step, is_cached=True)
        if known.store.finished(step)
        else maker.line(step, row_of.get(step))
        for step in known.graph.steps
    ]
    for row in known.graph.rows:
        for note in row.planned.notes if row.planned else ():
            known.notes.setdefault(note)
    return Plan(
        lines=tuple(lines),
        snapshot_bytes=maker.snapshot_bytes,
        copy_bytes=maker.copy_bytes,
        notes=tuple(known.notes),
        visible={
            task: Visible(num_items, planned_visible_change(num_items))
            for task, num_items in maker.tasks.num_items.items()
            if num_items
        },
    )
