"""What the finished steps of a graph say, as the plain data that a report is made of."""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from retain.data.mix import PASSES_OF_TRAINING
from retain.embedded import lookup
from retain.pipeline.downloads import EMBEDDED
from retain.pipeline.graph import Graph, Row
from retain.pipeline.resolve import Resolved
from retain.recipe import Cell
from retain.report import beside, made
from retain.report.environment import Record, environment, unlike
from retain.report.facts import (
    Answer,
    Curve,
    DataFacts,
    Moving,
    Question,
    Sample,
    TrainFacts,
)
from retain.report.given import Given, read_given
from retain.report.harness_groups import harness_groups
from retain.report.moving import moving_of
from retain.report.results import Arm, Results, Variant
from retain.report.rounding import rounded_between, rounding
from retain.report.scores import (
    Checkpoint,
    InsideScore,
    ItemKey,
    Items,
    ScoreRow,
    TaskKey,
    checkpoint,
    stop_name,
)
from retain.report.stored_items import stored_items
from retain.report.texts import read_texts
from retain.steps.step import Step
from retain.steps.store import Store

RETUNES = {"retuned": "recovery", "base_retuned": "recovery", "placebo": "recovery, placebo"}
_COLUMNS = tuple(column.name for column in fields(ScoreRow))


def collect(
    resolved: Resolved,
    graph: Graph,
    store: Store,
    *,
    run_folder: str,
    command: str,
    models: Mapping[Checkpoint, str],
) -> Results:
    """Everything that was measured; every step of the graph must be finished.

    Args:
        resolved: The recipe with its outside facts.
        graph: Its steps.
        store: Where their results are.
        run_folder: As the user would type it.
        command: What repeats the run.
        models: Kept model folders, as the user would type them.
    """
    cells = resolved.cells
    variants = {cell.variant: cell.recipe for cell in cells}
    arms = {cell.arm: cell for cell in cells}
    in_order = list(resolved.recipe.arms)
    items: dict[ItemKey, Items] = {}
    scores: list[ScoreRow] = []
    samples: list[Sample] = []
    questions: dict[TaskKey, Mapping[str, Question]] = {}
    answers: dict[ItemKey, Mapping[str, Answer]] = {}
    given: dict[ItemKey, Given] = {}
    inside: list[InsideScore] = []
    inside_items: dict[ItemKey, Items] = {}
    for row in graph.rows:
        for stop, step in _inside(row, store):
            inside += [_inside_score(stop, one) for one in _scores(row, step, store)]
            of_arm = replace(row, arm=stop_name(row.arm, stop.part))
            inside_items |= stored_items(checkpoint(of_arm), step, store)
            given |= _given(of_arm, step, store)
        for task, step in row.evaluations.items():
            scores += _scores(row, step, store)
            items |= stored_items(checkpoint(row), step, store)
            samples += _samples(row, task, step, store)
            given |= _given(row, step, store)
            texts = read_texts(store.open(step, "items.parquet"), store.open(step, "scores.json"))
            for key, (asked, answered) in texts.items():
                questions.setdefault(key, asked)
                answers[ItemKey(checkpoint(row), key)] = answered
    trained = [row for row in graph.rows if row.train is not None]
    curves = tuple(_curve(row, store) for row in trained)
    records = [store.record(step) for step in graph.steps]
    return Results(
        name=resolved.recipe.name,
        recipe=resolved.recipe.resolved(),
        run_folder=run_folder,
        variants=tuple(
            Variant(
                name=name,
                model=one.model,
                phases=one.phase_names,
                arms=tuple(dict.fromkeys(cell.arm for cell in cells if cell.variant == name)),
            )
            for name, one in variants.items()
        ),
        arms=tuple(
            arm_of(cell)
            for cell in sorted(arms.values(), key=lambda one: in_order.index(one.base_arm))
        ),
        seeds=resolved.recipe.seeds,
        groups=_groups(resolved),
        scores=tuple(scores),
        harness_groups=tuple(harness_groups(resolved.recipe, scores)),
        items=items,
        models=models,
        curves=curves,
        training=tuple(_facts(row, store, paid) for row, paid in made.paid_before(trained)),
        samples=tuple(samples),
        probes=tuple(beside.probes(graph, store)),
        data=tuple(_data(graph, store)),
        environment=environment(records),
        command=command,
        notes=(
            *_origins(resolved),
            *_trials(resolved),
            *rounding(graph, store),
            *rounded_between(trained, store),
            *made.climbs(curves),
            *made.heavy_tokens(trained, store),
            *_notes(graph, records),
            *unlike(records),
        ),
        questions=questions,
        answers=answers,
        given=given,
        corpora=tuple(made.corpora(graph, store)),
        lineage=tuple(made.lineage(graph)),
        costs=tuple(made.costs(graph, store)),
        inside=tuple(inside),
        inside_items=inside_items,
        judged=tuple(beside.judged(graph, store)),
        retuned=tuple(beside.retuned(graph, store)),
        draws=beside.draws(graph, store),
    )


def arm_of(cell: Cell) -> Arm:
    """The arm of a cell as the report names and describes it."""
    return Arm(
        name=cell.arm,
        methods=methods_of_arm(cell),
        description=_description(cell),
        base_arm=cell.base_arm,
        swept=cell.swept,
    )


class _Stop(NamedTuple):
    """A checkpoint inside a phase."""

    optimizer_step: int
    part: str


def _inside(row: Row, store: Store) -> Iterator[tuple[_Stop, Step]]:
    """Every evaluation of a checkpoint inside the row's phase."""
    if not row.inside:
        return
    assert row.train is not None
    kept = _read(store.open(row.train, "facts.json"))["checkpoints"]
    for place, (evaluations, one) in enumerate(zip(row.inside, kept, strict=True), start=1):
        for step in evaluations.values():
            yield _Stop(one["optimizer_step"], part_of_phase(place, len(kept))), step


def part_of_phase(place: int, number: int) -> str:
    """How much of a phase is trained at one of its checkpoints, counted from 1.

    >>> [part_of_phase(place, 3) for place in (1, 2, 3)], part_of_phase(1, 2)
    (['25%', '50%', '75%'], '33.3%')
    """
    return f"{100 * place / (number + 1):.3g}%"


def _inside_score(stop: _Stop, row: ScoreRow) -> InsideScore:
    return InsideScore(**{name: getattr(row, name) for name in _COLUMNS}, **stop._asdict())


def _scores(row: Row, step: Step, store: Store) -> Iterator[ScoreRow]:
    for score in _read(store.open(step, "scores.json")):
        if score["value"] is not None and score["role"] in ("select", "report"):
            yield ScoreRow(
                variant=row.variant,
                arm=row.arm,
                seed=row.seed,
                phase_index=row.phase_index,
                phase=row.phase,
                **{key: value for key, value in score.items() if key != "aggregation"},
            )


def _given(row: Row, step: Step, store: Store) -> dict[ItemKey, Given]:
    found = read_given(store.open(step, "items.parquet"), store.open(step, "scores.json"))
    return {ItemKey(checkpoint(row), key): one for key, one in found.items()}


def _samples(row: Row, task: str, step: Step, store: Store) -> Iterator[Sample]:
    kept = store.holds(step, "samples.json")
    for one in _read(store.open(step, "samples.json")) if kept else ():
        yield Sample(
            checkpoint=checkpoint(row),
            task=task,
            prompt=one["prompt"],
            reference=one.get("target") or "",
            response=one["response"],
        )


def _curve(row: Row, store: Store) -> Curve:
    assert row.train is not None
    lines = store.open(row.train, "curve.jsonl").read_text("utf-8").splitlines()
    points = [json.loads(line) for line in lines]
    return Curve(
        checkpoint=checkpoint(row),
        phase=row.phase,
        steps=[point["step"] for point in points],
        losses=[point["loss"] for point in points],
    )


def _facts(row: Row, store: Store, paid: Set[Step]) -> TrainFacts:
    """What training a row took; ``paid``: what its arm had done for it in an earlier phase."""
    assert row.train is not None
    assert row.mix is not None
    assert row.planned is not None
    facts = _read(store.open(row.train, "facts.json"))
    mixed = _read(store.open(row.mix, "facts.json"))
    sources = mixed["sources"]
    trained = PASSES_OF_TRAINING * mixed["num_tokens"]
    written = made.passes_before(row, store, paid)
    tokens = {role: source["trained_tokens"] for role, source in sources.items()}
    return TrainFacts(
        checkpoint=checkpoint(row),
        phase=row.phase,
        new_tokens=sum(n for role, n in tokens.items() if role.startswith("new")),
        old_tokens=sum(n for role, n in tokens.items() if role.startswith(("past", "extra"))),
        generated_tokens=sum(n for role, n in tokens.items() if role.startswith("rehearsed")),
        steps=facts["steps"],
        learning_rate=row.planned.train.learning_rate,
        trainable_parameters=facts["trainable_parameters"],
        total_parameters=facts["total_parameters"],
        seconds=facts["seconds"] + made.seconds_before(row, store, paid),
        device=facts["device"],
        precision=facts["precision"],
        moving=_moving(row.train, store),
        token_passes=None if written is None else trained + written,
    )


def _moving(train: Step, store: Store) -> Moving | None:
    """What a method let move in a phase, as its ``trainable`` step wrote it."""
    if "trainable" not in train.inputs:
        return None
    content = _read(store.open(train.inputs["trainable"], "trainable.json"))
    return moving_of(content) if "moves" in content else None


def _data(graph: Graph, store: Store) -> Iterator[DataFacts]:
    names = {one.mix.inputs["new"]: RETUNES[one.what] for one in graph.retunes}
    names |= {step: f"phase {phase}" for (_, phase), step in graph.data.items()}
    for step, sources in graph.sources.items():
        facts = _read(store.open(step, "facts.json"))
        yield DataFacts(
            role=names.get(step, "replay"),
            source=", ".join(source.source for source in sources),
            licence=", ".join(facts.get("licences", ())),
            num_train=facts["counts"]["train"],
            num_held_out=facts["counts"]["held_out"],
            languages=", ".join(facts.get("languages", {})),
            notes=tuple(facts.get("notes", ())),
        )


def _groups(resolved: Resolved) -> dict[str, tuple[str, ...]]:
    """The recipe's groups that are scored, with lm-eval's own groups in them written out."""
    from retain.evaluate.catalog import members

    recipe = resolved.recipe
    folder = recipe.evaluate.include_path
    include = () if folder is None else (folder,)
    found = members(recipe.evaluate.groups, include_path=include, phases=recipe.phase_names)
    scored = {
        name: tuple(task for task in tasks if task in resolved.tasks)
        for name, tasks in found.items()
    }
    return {name: tasks for name, tasks in scored.items() if tasks}


def _origins(resolved: Resolved) -> Iterator[str]:
    """What must be said of where a model's weights come from."""
    for reference, _ in resolved.models:
        if reference.startswith(EMBEDDED):
            entry = lookup(reference.removeprefix(EMBEDDED))
            yield (
                f"{reference} starts from {entry.quantisation} weights, as its package ships them, "
                f"not from the original ones. Licence: {entry.licence}."
            )


def _trials(resolved: Resolved) -> Iterator[str]:
    """Say so where some arms had more trials than others: the best of many looks better."""
    tried: dict[str, dict[str, set[str]]] = {}
    for cell in resolved.cells:
        tried.setdefault(cell.base_arm, {}).setdefault(cell.variant, set()).add(cell.arm)
    by_number: dict[int, list[str]] = {}
    for arm, labels in tried.items():
        by_number.setdefault(max(map(len, labels.values())), []).append(arm)
    if len(by_number) > 1:
        told = "; ".join(f"{n} of {', '.join(by_number[n])}" for n in sorted(by_number))
        yield (
            f"Trials of each arm: {told}. The best of more trials looks better by chance alone: "
            "compare arms that had as many."
        )


def _notes(graph: Graph, records: Sequence[Record]) -> tuple[str, ...]:
    """Warnings of every step, each once: cut prompts, plain paths."""
    notes: dict[str, None] = {}
    for record in records:
        for note in record["facts"].get("notes", ()):
            notes.setdefault(note)
    for row in graph.rows:
        for note in row.planned.notes if row.planned else ():
            notes.setdefault(note)
    return tuple(notes)


def methods_of_arm(cell: Cell) -> tuple[str, ...]:
    """What an arm does beside plain training: its methods, and a tuning of its own."""
    arm = cell.recipe.arms[cell.base_arm]
    tuning = str(arm.train.get("tuning", "full"))
    names: tuple[str, ...] = tuple(method.name for method in arm.methods)
    return names + (tuning,) * (tuning != "full")


def _description(cell: Cell) -> str:
    """An arm in one line: its methods with their values, and the training values it changes."""
    arm = cell.recipe.arms[cell.base_arm]
    parts = []
    for method in arm.methods:
        changed = [
            f"{field.name} {_short(getattr(method, field.name))}"
            for field in fields(method)
            if field.name != "phases" and getattr(method, field.name) != field.default
        ]
        parts.append(" ".join((method.name, *changed)))
    parts += [f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
              for key, value in (arm.train | dict(cell.swept)).items()]  # fmt: skip
    return ", ".join(parts) or "plain sequential fine-tuning"


def _short(value: Any) -> str:
    """A method's value in a few characters: a declared past by the name of its data."""
    if isinstance(value, list | tuple):
        return " ".join(map(_short, value))
    role = getattr(value, "role", None)
    return str(value) if role is None else str(role).removeprefix("extra:")


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
