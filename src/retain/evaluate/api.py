"""Score any model on any tasks, outside a run."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from retain.errors import ModelError, StoreError, TaskError
from retain.evaluate.bias_task import CrowSPairs, StereoSet
from retain.evaluate.catalog import Name, groups_of, resolve
from retain.evaluate.compare import COMPARISON_COLUMNS
from retain.evaluate.engine import Engine
from retain.evaluate.example_task import own_task, phase_task
from retain.evaluate.group_scores import group_scores
from retain.evaluate.harness_json import harness_results
from retain.evaluate.instruction_task import InstructionTask
from retain.evaluate.ledger import Ledger, Progress, never, silent
from retain.evaluate.results import write_items
from retain.evaluate.run import Evaluation, run
from retain.evaluate.scorer import BUDGET_TOKENS
from retain.evaluate.shots import FIRST, Shots
from retain.evaluate.task import Task
from retain.evaluate.unfinished import forget_unfinished, unfinished_folder
from retain.model import precision as precisions
from retain.model.load import load
from retain.steps.durable import writing
from retain.steps.lock import locked

LOCK = ".lock"
NUM_TASKS_KEPT = 64  # MMLU is 57
SCORE_COLUMNS = (
    "task",
    "metric",
    "num_fewshot",
    "role",
    "value",
    "stderr",
    "num_items",
    "higher_is_better",
    "is_main",
    "unit",
    "aggregation",
    "chance",
    "majority",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a model is scored.

    Attributes:
        num_fewshot: Numbers of shots, or one; None is 0, with ``compat`` what a task's file says.
        limit: Items per task, the first of a fixed order; None scores all.
        compat: ``lm-eval`` for the harness's own shots and its first documents.
        include_path: Folders with lm-eval task files of one's own, or one.
        groups: Groups of tasks that may be named.
        tokenizer: Of a loaded model.
        precision: ``fp32``, ``bf16`` or ``auto``: what a probe found fast on this machine; a loaded
            model is called as it stands.
        budget_tokens: Tokens computed at a time; changes time and memory, not scores.
        add_bos_token: Overrules whether the tokenizer adds BOS.
        max_length: What the model reads, in tokens; None asks its configuration.
        progress: Told done, total, text, unit.
        stop: Asked between batches; true ends with ``Interrupted``.
        unfinished: Folder of results that keeps finished batches, so that a killed evaluation of a
            named model goes on; None keeps none.
    """

    num_fewshot: int | Sequence[int] | None = None
    limit: int | None = None
    compat: str | None = None
    include_path: str | Path | Sequence[str | Path] = ()
    groups: Mapping[str, Sequence[Name]] = field(default_factory=dict)
    tokenizer: Any = None
    precision: str = "auto"
    budget_tokens: int = BUDGET_TOKENS
    add_bos_token: bool | None = None
    max_length: int | None = None
    progress: Progress = silent
    stop: Callable[[], bool] = never
    unfinished: str | Path | None = None

    def __post_init__(self) -> None:
        if self.compat not in (None, "lm-eval"):
            raise TaskError(f"compat '{self.compat}': allowed is lm-eval, or leave it out")
        if self.limit is not None and (not _is_whole(self.limit) or self.limit < 1):
            raise TaskError(
                f"limit {self.limit}: must be a whole number, at least 1; leave it out to score all"
            )
        if self.shots is not None and not (
            self.shots and all(_is_whole(shots) and shots >= 0 for shots in self.shots)
        ):
            raise TaskError(f"num_fewshot {self.num_fewshot}: give whole numbers of 0 or more")
        if self.precision not in precisions.PRECISIONS:
            allowed = ", ".join(precisions.PRECISIONS)
            raise ModelError(f"precision '{self.precision}': allowed are {allowed}")

    @property
    def shots(self) -> list[int] | None:
        """The numbers of shots; None where each task has its own."""
        if self.num_fewshot is None:
            return None if self.compat else [0]
        if isinstance(self.num_fewshot, Sequence):
            return list(self.num_fewshot)
        return [self.num_fewshot]

    @property
    def folders(self) -> list[str | Path]:
        """The folders of ``include_path``."""
        given = self.include_path
        return [given] if isinstance(given, str | Path) else list(given)


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def evaluate(
    model: Any,
    tasks: str | Sequence[Name],
    num_fewshot: int | Sequence[int] | None = None,
    limit: int | None = None,
    output: str | Path | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Score a model on tasks.

    Args:
        model: A reference (folder, hub id, ``embedded:NAME``), or a loaded model.
        tasks: Names, as a recipe writes them.
        num_fewshot: Numbers of shots, or one; None is 0, with ``compat`` what a task's file says.
        limit: Items per task; None scores all.
        output: Folder for ``scores.csv``, ``items.parquet`` and, for each number of shots, the
            same as lm-eval's results file (``lm_eval_0shot.json``). Of a model that is named, a
            killed evaluation goes on with the batches it has.
        options: Further fields of ``Options``.

    Returns:
        A row per task, metric, number of shots and role. ``report`` and ``select`` are the parts a
        run keeps apart; ``all`` is both together.

    Raises:
        ModelError: If the model is not found, or is given without its tokenizer.
        TaskError: If a task is not known, or cannot be scored.
        StoreError: If ``output`` cannot be written, or another evaluation writes to it, before
            anything is scored.
    """
    with taken(output):
        found = evaluation(model, tasks, num_fewshot, limit, unfinished=output, **options)
        if output is not None:
            config = {"model": str(getattr(model, "name_or_path", model)), "limit": limit}
            write(found, Path(output), config)
    return found.scores


def evaluation(
    model: Any,
    tasks: str | Sequence[Name],
    num_fewshot: int | Sequence[int] | None = None,
    limit: int | None = None,
    **further: Any,
) -> Evaluation:
    """Scores, items and notes of a model on tasks; see ``evaluate``."""
    options = Options(num_fewshot=num_fewshot, limit=limit, **further)
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    if not names:
        raise TaskError("no tasks: name at least one, as embedded_piqa, or the group general")
    specs = resolve(names, groups=options.groups, include_path=options.folders)
    engine = open_engine(
        model,
        options.tokenizer,
        precision=options.precision,
        budget_tokens=options.budget_tokens,
        add_bos_token=options.add_bos_token,
        max_length=options.max_length,
    )
    ready = [make_task(spec, engine, limit=options.limit, compat=options.compat) for spec in specs]
    folder = None
    if options.unfinished is not None and isinstance(model, str | Path):
        folder = unfinished_folder(Path(options.unfinished), str(model), engine)
    ledger = Ledger(folder, options.progress, options.stop)
    shots = None if options.shots is None else sorted(set(options.shots))
    found = run(ready, engine, shots, ledger)
    found.specs += specs
    groups = groups_of(names, groups=options.groups, include_path=options.folders)
    found.group_scores += group_scores(groups, found.scores)
    found.precision = engine.precision
    found.notes.append(f"computed in {found.precision}")
    return found


def make_task(
    spec: Mapping[str, Any],
    engine: Engine,
    *,
    limit: int | None = None,
    compat: str | None = None,
    data_folder: Path | None = None,
    shots: Shots = FIRST,
) -> Task:
    """A resolved task, ready to be asked.

    Args:
        spec: As ``catalog.resolve`` gives it, places included.
        engine: The model that will be asked.
        limit: Score only the first so many items.
        compat: ``lm-eval`` or None.
        data_folder: Of a phase's data step, for ``phase:NAME``.
        shots: Which examples of its pool stand in the prompt; not with ``compat``.
    """
    match spec["kind"]:
        case "phase":
            assert data_folder is not None, "a phase task needs its data step"
            held_out = data_folder / "heldout.jsonl"
            return phase_task(spec["name"], held_out, engine, limit, shots)
        case "own":
            return own_task(spec, engine, limit, shots)
        case "stereoset":
            return StereoSet(engine, limit)
        case "crows_pairs":
            return CrowSPairs(engine, limit)
        case "instructions":
            return InstructionTask(engine, limit)
        case _:
            return _lm_eval_task(json.dumps(spec, sort_keys=True), limit, compat, shots)


@lru_cache(maxsize=NUM_TASKS_KEPT)
def _lm_eval_task(spec: str, limit: int | None, compat: str | None, shots: Shots) -> Task:
    """Kept with its rendered questions: the next checkpoint starts to be scored at once."""
    from retain.evaluate.lm_eval_task import LmEvalTask

    return LmEvalTask(json.loads(spec), limit, compat, shots)


def open_engine(
    model: Any,
    tokenizer: Any = None,
    *,
    precision: str = "fp32",
    budget_tokens: int = BUDGET_TOKENS,
    add_bos_token: bool | None = None,
    max_length: int | None = None,
) -> Engine:
    """The engine over a reference or a loaded model, which ``auto`` calls as it stands.

    Raises:
        ModelError: If the model is not found, or is given without its tokenizer.
    """
    if isinstance(model, str | Path):
        loaded = load(str(model), precision=precision)
        model, tokenizer = loaded.model, tokenizer or loaded.tokenizer
        autocast: Any = loaded.autocast
        computed = loaded.precision
    elif tokenizer is None:
        raise ModelError(f"a loaded {type(model).__name__} needs its tokenizer: tokenizer=…")
    else:
        computed = "fp32" if precision == "auto" else precisions.resolve(precision)
        autocast = partial(precisions.autocast, computed, model.device)
    engine = Engine(
        model,
        tokenizer,
        autocast=autocast,
        budget_tokens=budget_tokens,
        add_bos_token=add_bos_token,
        max_length=max_length,
    )
    if computed == "bf16":
        engine.precision = "bf16, weights " + engine.precision
    return engine


@contextmanager
def taken(output: str | Path | None) -> Iterator[None]:
    """A folder of results, made and tried before anything is scored for it, for one at a time.

    Args:
        output: The folder; None where nothing is written.

    Raises:
        StoreError: If it is a file, cannot be made or written, or another evaluation has it.
    """
    if output is None:
        yield
        return
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise StoreError(
            f"{output}: results cannot be written there ({error}); name another folder"
        ) from error
    with locked(Path(output) / LOCK, what=f"the results in {output}"):
        yield


def write(
    found: Evaluation,
    output: Path,
    config: dict[str, Any],
    comparison: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the files of an evaluation into a folder, made if need be.

    Args:
        found: What was scored.
        output: Gets ``scores.csv``, ``items.parquet``, ``lm_eval_<shots>shot.json``; loses what an
            unfinished evaluation kept there.
        config: What the harness's file says of model and settings.
        comparison: With another model; gets ``comparison.csv`` where there is one.
    """
    told = {**config, "precision": found.precision}
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        _write_csv(output / "scores.csv", SCORE_COLUMNS, found.scores)
        if comparison:
            _write_csv(output / "comparison.csv", COMPARISON_COLUMNS, comparison)
        write_items(found.items, output / "items.parquet")
        for num_fewshot in sorted({row["num_fewshot"] for row in found.scores}):
            results = harness_results(found, found.specs, num_fewshot, told)
            text = json.dumps(results, indent=2, ensure_ascii=False)
            (output / f"lm_eval_{num_fewshot}shot.json").write_text(text + "\n", encoding="utf-8")
        forget_unfinished(output)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
