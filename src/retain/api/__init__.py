"""The verbs, from Python: what ``retain VERB`` does, the command line only words.

>>> import retain
>>> outcome = retain.run("quickstart")        # doctest: +SKIP
>>> outcome.verdicts[0].ship                  # doctest: +SKIP
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retain.api.compare import compare
from retain.api.export import export
from retain.api.look import check_data, doctor, list_steps, show_data, tokenizer_of
from retain.api.lost import failure
from retain.api.phases_apart import show_phases_apart
from retain.api.place import STEPS, place_of
from retain.api.prepared import (
    RUNS,
    Options,
    allow,
    known_graphs,
    prepare,
    read_any,
)
from retain.api.rehearse import rehearse
from retain.api.report import report, write_reports
from retain.api.similarity import show_similarity
from retain.api.studies import studies
from retain.api.translate import translate_data
from retain.api.where import Where, carry_out_where
from retain.errors import StoreError, TaskError
from retain.execute import Listener, Quiet, run_folder
from retain.recipe import Recipe
from retain.steps.step import Step
from retain.steps.store import Store

if TYPE_CHECKING:
    from retain.data.example import Example
    from retain.estimate import Plan
    from retain.estimate.full_size import FullSize
    from retain.report.verdict import Verdict

__all__ = [
    "RUNS",
    "STEPS",
    "Options",
    "Outcome",
    "Store",
    "allow",
    "check_data",
    "clean",
    "compare",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "init",
    "list_steps",
    "plan",
    "plan_full_size",
    "rehearse",
    "report",
    "run",
    "show_data",
    "show_phases_apart",
    "show_similarity",
    "studies",
    "translate_data",
]
NUM_MEASURED = 500
"""Examples whose length is measured for a first recipe."""


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


def run(  # noqa: PLR0913 - each by its name
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    runs: str | Path = RUNS,
    options: Options | None = None,
    show: bool = False,
    jobs: int | None = None,
    on: str = "here",
) -> Outcome:
    """Do whatever of a recipe is not done yet, then write its report.

    Args:
        recipe: A path, the name of a shipped recipe, plain values, or a recipe.
        overrides: ``phases.hindi.train.learning_rate=1e-5`` and the like.
        runs: The folder that holds runs and their steps, or an address as s3://bucket/prefix.
        options: What is allowed beyond the usual.
        show: Print progress and the result, as the command line does.
        jobs: How many steps at once, each in a process of its own; None: one after the other in
            this process, or on Ray as many as there is room for.
        on: ``here``, or ``ray`` for a Ray cluster.

    Raises:
        RetainError: With what is wrong and what to do; what is finished stays. Where steps of some
            arms failed, the others are finished and reported first.
        Interrupted: After a signal; the same call goes on.
    """
    where = Where(jobs=jobs, on=on)
    place = place_of(runs)
    where.check(place)
    prepared = prepare(recipe, overrides, place, options)
    folder = run_folder(prepared.runs, prepared.resolved.recipe.name)
    with place.own(folder, _say(show)):
        prepared.write_head(folder)
        place.send_head(folder, prepared.graph.steps)
        prepared.get_ready(show=show)
        with _watch(show) as listener:
            summary = carry_out_where(where, prepared, options, listener)
        with place.reading():
            verdicts, gates = write_reports(prepared, folder, summary.failed, show=show)
        place.send(folder, prepared.graph.steps)
    if summary.failed:
        raise failure(summary.failed)
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

    prepared = prepare(recipe, overrides, runs, options)
    return make_plan(prepared.resolved, prepared.graph, prepared.store)


def plan_full_size(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    devices: Sequence[str] = (),
) -> "FullSize | None":
    """What a recipe takes whose models or data are not here, from recorded facts, offline.

    Args:
        recipe: As :func:`run`.
        overrides: As :func:`run`.
        devices: What to reckon for, such as ``8x80GB``; () takes one of 24 GB, one and eight of
            80 GB.

    Returns:
        None where everything is here, or where something that is not is not recorded either:
        :func:`plan` is for these.
    """
    from retain.estimate.at_hand import is_recorded
    from retain.estimate.full_size import DEVICES, full_size

    read = read_any(recipe, overrides)
    return full_size(read, devices or DEVICES) if is_recorded(read) else None


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
        options: Of ``retain.evaluate``: ``num_fewshot``, ``limit``, ``include_path``, ``compat``,
            ``precision``.

    Raises:
        StoreError: If ``output`` cannot be written, or another evaluation writes to it, before
            anything is scored.
    """
    from retain.evaluate.api import taken

    if phases := [task for task in tasks if task == "phases" or task.startswith("phase:")]:
        raise TaskError(f"'{phases[0]}' is of a recipe's phases; here, name tasks or groups")
    with taken(output):
        return _evaluated(model, tasks, compare_with, output, options)


def _evaluated(
    model: str,
    tasks: Sequence[str],
    compare_with: str | None,
    output: str | Path | None,
    options: Mapping[str, Any],
) -> str:
    """Score, compare, write; what `evaluate` gives back."""
    from retain import printed, terminal
    from retain.evaluate.api import evaluation, write
    from retain.evaluate.compare import compare

    names = [model] if compare_with is None else [model, compare_with]
    founds = []
    for name in names:
        with terminal.bar(f"scoring {name}") as progress:
            found = evaluation(name, tasks, progress=progress, unfinished=output, **options)
            founds.append(found)
    found, *others = founds
    comparison = [row for other in others for row in compare(found, other)]
    text = printed.score_table([*found.scores, *found.group_scores], found.notes)
    if compare_with is not None:
        text += f"\n\n{printed.comparison_table(comparison, model, compare_with)}"
    if output is not None:
        try:
            write(found, Path(output), {"model": model, "limit": options.get("limit")}, comparison)
        except (OSError, StoreError) as error:  # the scores are not lost with the files
            raise StoreError(f"{output}: {error}\n\n{text}") from error
    return text


def clean(runs: str | Path = RUNS, run_name: str | None = None, *, dry_run: bool = False) -> str:
    """Remove what no run refers to; says what that frees and what recomputing would cost."""
    from retain.steps.clean import clean as remove

    place = place_of(runs)
    if place.is_remote:
        raise StoreError(
            f"{place}: `retain clean` frees folders only, since it cannot keep other machines from "
            "using a step meanwhile. When no run uses the store, remove a prefix with the store's "
            f"own tools; what this machine keeps of it is {place.folder}"
        )
    found = remove(place.store, place.folder, run_name, dry_run=dry_run)
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
    from retain.api.first import held_out_of, metric_of
    from retain.data.sources import load
    from retain.model.adapters import Adapter, num_parameters
    from retain.model.facts import describe
    from retain.model.reference import folder
    from retain.recipe.init import InitFacts, init_recipe

    about = describe(model)
    examples = load(data).examples
    fraction, num_reported = held_out_of(examples)
    lengths = sorted(_num_tokens(model, examples))
    facts = InitFacts(
        num_parameters=about.num_parameters,
        block_parameters=about.block_parameters,
        num_layers=about.num_layers,
        hidden_size=about.hidden_size,
        vocab_size=about.vocab_size,
        adapter_parameters=num_parameters(folder(model), Adapter(kind="lora")),
        context_tokens=about.context_tokens,
        num_examples=len(examples),
        is_text=all(one.text is not None for one in examples),
        longest_tokens=lengths[int(0.95 * (len(lengths) - 1))],
        test_metric="exact_match" if test is None else metric_of(load(test).examples),
        held_out=fraction,
        num_reported=num_reported,
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

    place = place_of(runs)
    place.fetch_all()
    store = place.store
    wanted = step.strip("/")
    planned = {
        known.folder: known
        for prepared in known_graphs(place)
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


# ---------------------------------------------------------------- pieces


def _num_tokens(model: str, examples: "Sequence[Example]") -> list[int]:
    """Tokens of the first examples, by the model's tokenizer."""
    tokenizer = tokenizer_of(model)
    return [len(tokenizer("\n".join(one.contents)).input_ids) for one in examples[:NUM_MEASURED]]


def _say(show: bool) -> Callable[[str], None]:
    from retain import terminal

    return terminal.say if show else lambda text: None


def _watch(show: bool) -> AbstractContextManager[Listener]:
    if not show:
        return nullcontext(Quiet())
    from retain.terminal import Watch

    return Watch()
