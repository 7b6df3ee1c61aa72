"""Steps of kind ``task_boundary``: what blocks that do not move make of all that a task scores.

Inputs: ``trainable`` (of the first phase that froze them); ``model`` (what that phase starts from;
absent for the base model); ``data``, for a phase task.
Output: ``boundary.json`` (depth, 0 where nothing is kept) and, where something is, states by row
(``model.states_file``). Evaluations of that phase and of later ones read them.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retain.evaluate.api import make_task, open_engine
from retain.evaluate.below import FACTS, Recorder, lowest_depth
from retain.evaluate.ledger import Ledger
from retain.evaluate.run import record
from retain.model import cache
from retain.model.boundary import Boundary
from retain.model.states_file import FILES, StatesWriter
from retain.model.threads import first_threads
from retain.steps.work import Work

VERSION = 1


def run(
    work: Work, *, model_folder: Path, data_folder: Path | None, spec: Mapping[str, Any]
) -> None:
    """Compute and keep the states, or say that there are none to keep.

    Args:
        work: The running step; settings as of an evaluation, and ``stored``.
        model_folder: The model whose lowest blocks they are.
        data_folder: The finished data step, for a phase task.
        spec: The task with the places of its files.

    Raises:
        TaskError: If the task cannot be scored.
        ModelError: If the model does not open.
        Interrupted: On a signal; the same step goes on later.
    """
    settings = work.step.settings
    loaded = cache.get(model_folder, precision=settings["precision"])
    depth = lowest_depth(loaded.model, [work.input("trainable", "trainable.json")])
    num_bytes = 0
    if depth:
        engine = open_engine(loaded.model, loaded.tokenizer, precision=settings["precision"])
        width = loaded.model.config.get_text_config().hidden_size
        writer = StatesWriter(work.partial, width, settings["stored"])
        with first_threads(work.partial):
            task = make_task(
                spec,
                engine,
                limit=settings["limit"],
                compat=settings["compat"],
                data_folder=data_folder,
            )
            ledger = Ledger(None, work.progress, work.stop)
            recorder = Recorder(Boundary(loaded.model, depth), writer)
            record(task, engine, settings["num_fewshot"], ledger, recorder)
        for name in FILES:
            shutil.move(work.partial / name, work.output / name)
        num_bytes = (work.output / FILES[0]).stat().st_size
    facts = {"depth": depth if num_bytes else 0, "bytes": num_bytes}
    (work.output / FACTS).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    work.note(**facts)
