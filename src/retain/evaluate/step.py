"""Steps of kind ``evaluate``: one model on one task, at every number of shots.

Inputs: ``model`` (the train or finish step before; absent for the base model), ``data`` (a phase's
data step, for a phase task); ``boundary`` and ``trainable:<number>``, where the lowest blocks are
those of a former phase (see ``evaluate.boundary_step``).
Output: ``items.parquet``, ``scores.json``; ``samples.json`` for a phase task.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from retain.errors import TaskError
from retain.evaluate.api import make_task, open_engine
from retain.evaluate.below import FACTS, Below, lowest_depth
from retain.evaluate.engine import Engine
from retain.evaluate.example_task import ExampleTask
from retain.evaluate.identity import same_identity
from retain.evaluate.ledger import Ledger
from retain.evaluate.results import write_items
from retain.evaluate.run import Evaluation
from retain.evaluate.run import run as ask
from retain.evaluate.samples import samples
from retain.evaluate.shots import Shots
from retain.evaluate.task import Task
from retain.model import cache
from retain.model.threads import first_threads
from retain.steps.work import Work

VERSION = 1


def run(
    work: Work,
    *,
    model_folder: Path,
    data_folder: Path | None = None,
    spec: Mapping[str, Any] | None = None,
) -> None:
    """Score one model on one task; finished batches survive a kill.

    Args:
        work: The running step; settings ``task``, ``num_fewshot``, ``limit``, ``compat``,
            ``precision``, ``quantisation``.
        model_folder: The model.
        data_folder: The finished data step, for a phase task.
        spec: The task with the places of its files; None where the settings say all.

    Raises:
        DataError: If the task's data changed since the run was planned.
        TaskError: If the task cannot be scored.
        ModelError: If the model does not open.
        Interrupted: On a signal; the same step goes on later.
    """
    settings = work.step.settings
    spec = settings["task"] if spec is None else spec
    if not same_identity(spec, settings["task"]):
        raise TaskError(f"task '{spec['name']}': not what the step was made for; start again")
    started = monotonic()
    loaded = cache.get(
        model_folder,
        precision=settings["precision"],
        quantisation=settings.get("quantisation"),
    )
    engine = open_engine(loaded.model, loaded.tokenizer, precision=settings["precision"])
    engine.scorer.below = _below(work, loaded.model)
    with first_threads(work.partial) as num_threads:
        task = make_task(
            spec,
            engine,
            limit=settings["limit"],
            compat=settings["compat"],
            data_folder=data_folder,
            shots=Shots.of(settings),
        )
        ledger = Ledger(work.partial, work.progress, work.stop)
        found = _ask(task, engine, settings, ledger)
        if isinstance(task, ExampleTask) and spec["kind"] == "phase" and "shots" not in settings:
            _write(work.output / "samples.json", samples(task, ledger))
    write_items(found.items, work.output / "items.parquet")
    _write(work.output / "scores.json", found.scores)
    _note(work, engine, found.notes)
    work.note(threads=num_threads, device=str(loaded.device), precision=loaded.precision)
    work.note(seconds=monotonic() - started, num_items=len(found.items))


def _ask(task: Task, engine: Engine, settings: Mapping[str, Any], ledger: Ledger) -> Evaluation:
    """All that the step asks; nothing of another draw where the task takes no examples."""
    wanted = settings["num_fewshot"]
    if "shots" in settings and task.shots(wanted) != list(wanted):
        return Evaluation()
    return ask([task], engine, wanted, ledger)


def _below(work: Work, model: Any) -> Below | None:
    """What was kept of the lowest blocks, if none of them moved since."""
    if "boundary" not in work.step.inputs:
        return None
    facts = json.loads(work.input("boundary", FACTS).read_text("utf-8"))
    roles = [role for role in work.step.inputs if role.startswith("trainable:")]
    depth = lowest_depth(model, [work.input(role, "trainable.json") for role in roles])
    if facts["depth"] and depth >= facts["depth"]:
        return Below(model, facts["depth"], work.input("boundary"))
    return None


def _note(work: Work, engine: Engine, notes: list[str]) -> None:
    """What a reader should know goes to the record and the journal."""
    work.note(path=engine.scorer.path, num_truncated=engine.num_truncated, notes=list(notes))
    for note in notes:
        work.event("note", text=note)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
