"""The outside facts a recipe's steps depend on, settled before the graph is made.

Which precision `auto` means on this machine, what identifies each model and each source, which task
a name stands for: read once, without loading torch, and written into ``recipe.resolved.yaml``.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retain.errors import RecipeError, RetainError
from retain.methods.given import Source
from retain.model.reference import kind
from retain.pipeline.encoders import check_encoders
from retain.pipeline.together import check_together
from retain.recipe import Cell, OwnTest, Recipe, called, data_of, expand
from retain.recipe.faults import FaultyRecipeError
from retain.rehearse.corpus import HERE
from retain.train.tracker import check_tracker


@dataclass(frozen=True)
class Resolved:
    """A recipe with its outside facts.

    Attributes:
        recipe: As read.
        cells: Every arm of every seed of every variant, with its phases.
        models: Reference and revision of a base model to its identity (``sha256``, …).
        tasks: Name of a scored task to what a fingerprint says of it.
        precisions: Asked precision to the effective one.
        scored: Variant to the tasks it is scored on, groups written out, with the numbers of shots
            of each.
        files: Source to its files' labels and sha256.
        judge: The identity of a judge that runs here; {} without one.
    """

    recipe: Recipe
    cells: tuple[Cell, ...]
    models: Mapping[tuple[str, str | None], Mapping[str, str]]
    tasks: Mapping[str, Mapping[str, Any]]
    precisions: Mapping[str, str]
    scored: Mapping[str, Mapping[str, tuple[int, ...]]]
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    judge: Mapping[str, str] = field(default_factory=dict)

    def model(self, cell: Cell) -> Mapping[str, str]:
        """The identity of the base model that a cell starts from."""
        return self.models[cell.recipe.model, cell.recipe.revision]

    def model_name(self, cell: Cell) -> str:
        """How cards call the base model: a hub id or embedded name as it is, a path by its end."""
        reference = cell.recipe.model
        is_path = kind(reference) in ("folder", "gguf")
        return Path(reference).name if is_path else reference

    def precision(self, asked: str) -> str:
        """``fp32`` or ``bf16``."""
        return self.precisions[asked]

    def source_settings(self, source: Source) -> dict[str, Any]:
        """What of a source is a setting: all but where it lies."""
        kept = (
            *("split", "format", "sample", "share", "loss_weight", "parallel"),
            *("columns", "template"),
        )
        dumped = source.model_dump(mode="json")
        values = {key: dumped[key] for key in kept}
        return {key: value for key, value in values.items() if value is not None}

    def source_files(self, source: Source) -> Mapping[str, str]:
        """Labels and sha256 of the files behind a source."""
        return self.files[source.source]


def resolve(recipe: Recipe) -> Resolved:
    """Find the outside facts; fetches no package and no weights.

    Raises:
        RetainError: If a model, a source or a task is not there, or a method does not work with
            the model; several are told together.
    """
    from retain.model.precision import resolve as resolve_precision
    from retain.model.reference import identity as model_identity

    cells = expand(recipe)
    recipes = {cell.variant: cell.recipe for cell in cells}
    faults = _Faults(recipe.name)
    models = {}
    for one in recipes.values():
        with faults.at("model"):
            models[one.model, one.revision] = model_identity(one.model, one.revision)
    precisions = {"auto": resolve_precision("auto"), "fp32": "fp32", "bf16": "bf16"}
    tasks: dict[str, Mapping[str, Any]] = {}
    scored: dict[str, Mapping[str, tuple[int, ...]]] = {}
    for variant, one in recipes.items():
        with faults.at("evaluate.tasks"):
            specs, scored[variant] = _tasks(one)
            tasks |= {spec["name"]: spec for spec in specs}
    files = _files(cells, faults)
    with faults.at("evaluate.judge"):
        judge = _judge(recipe, tasks)
    faults.tell()
    check_encoders(cells)
    check_together(cells)
    if recipe.rehearse.engine != HERE:
        from retain.decode.vllm_engine import check_engine

        check_engine()
    for report_to in {phase.train.report_to for cell in cells for phase in cell.phases}:
        check_tracker(report_to)
    return Resolved(recipe, cells, models, tasks, precisions, scored, files, judge)


def _tasks(recipe: Recipe) -> tuple[list[dict[str, Any]], dict[str, tuple[int, ...]]]:
    """What the scored tasks are, and the numbers of shots of each, by the first that names it."""
    from retain.evaluate import catalog

    evaluate = recipe.evaluate
    of_test = {"name", "data", "metric"}
    names = [
        task.model_dump(include=of_test) if isinstance(task, OwnTest) else called(task)
        for task in evaluate.tasks
    ]
    known: dict[str, Any] = {
        "groups": evaluate.groups,
        "include_path": () if evaluate.include_path is None else (evaluate.include_path,),
        "phases": recipe.phase_names,
    }
    specs = catalog.resolve(names, **known)
    shots: dict[str, tuple[int, ...]] = {}
    for task, name in zip(evaluate.tasks, names, strict=True):
        for found in catalog.task_names([name], **known):
            shots.setdefault(found, evaluate.shots_of(task))
    return specs, shots


def _judge(recipe: Recipe, tasks: Mapping[str, Mapping[str, Any]]) -> Mapping[str, str]:
    """The identity of the judge's weights; {} where it runs elsewhere.

    Raises:
        RecipeError: If it is to read a group of lm-eval, or a task that writes nothing.
    """
    from retain.evaluate.catalog import has_answers
    from retain.model.reference import identity

    judge = recipe.evaluate.judge
    if judge is None:
        return {}
    for name in judge.tasks:
        if name not in tasks:
            raise RecipeError(f"'{name}' is a group; name its tasks")
        if not has_answers(tasks[name]):
            raise RecipeError(f"'{name}' is scored by likelihood: no answer is written to be read")
    return identity(judge.model, None) if judge.address is None else {}


def _files(cells: Sequence[Cell], faults: "_Faults") -> dict[str, Mapping[str, str]]:
    """What identifies each source of the recipe."""
    from retain.data.sources import identity

    places: dict[str, str] = {}
    for cell in cells:
        for place, sources in _sources(cell):
            for source in sources:
                places.setdefault(source.source, place)
    files: dict[str, Mapping[str, str]] = {}
    for name in sorted(places):
        with faults.at(places[name]):
            files[name] = identity(name)
    return files


def _sources(cell: Cell) -> Iterator[tuple[str, Sequence[Source]]]:
    """The sources of the phases, of the methods and of brief retunes, each with its place."""
    for phase in cell.recipe.phases:
        yield f"phases.{phase.name}.data", phase.data
    for planned in cell.phases:
        for method in planned.methods:
            for sources in method.data().values():
                yield f"arms.{cell.base_arm}.{method.name}", sources
    for one in cell.recipe.evaluate.recovery:
        for key, sources in data_of(one).items():
            yield f"evaluate.recovery.{key}", sources


class _Faults:
    """Faults of several places, told together."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.errors: list[tuple[str, RetainError]] = []

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """A fault in this block is kept, with its place."""
        try:
            yield
        except RetainError as error:
            self.errors.append((place, error))

    def tell(self) -> None:
        """Raise the one error, with its place, or one that lists all."""
        if len(self.errors) == 1:
            [(place, error)] = self.errors
            error.args = (f"{self.origin}: {place}: {error}",)
            raise error
        if self.errors:
            texts = [f"{at}: {line}" for at, one in self.errors for line in str(one).split("\n")]
            raise FaultyRecipeError(self.origin, texts)
