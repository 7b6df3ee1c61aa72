"""What the phases of finished runs share, beside what was forgotten of the earlier one."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from retain.api.place import RESOLVED, Place, place_of
from retain.api.prepared import Prepared, prepare
from retain.api.similarity import NOTE, embedder_of, shared, sides
from retain.data.split import order
from retain.data.step import TRAIN, read_examples
from retain.errors import DataError, RetainError, StoreError
from retain.measure.similarity import Embedder, Portrait, portrait
from retain.steps.step import Step

CONTROL = "none"
COLUMNS = (
    *("run", "phase", "then", ">DES", ">words", ">languages", ">form", ">length"),
    *(">KL", ">forgotten", ">from", ">to", "metric"),
)
FORGOTTEN_NOTE = """
KL: of the base model's predictions on the second phase's task to those after plain training
(`none`), nats per token; of runs with the probe `drift`. forgotten: what plain training forgot of
the first phase's own task in the second, and its 95 % interval: best earlier score less the last,
positive is loss, in the unit of the metric. Unlike units cannot be compared. No correlation is
computed: {number} from {num_runs}, which may share models, data and rates, would not carry one."""

Rows = Sequence[Mapping[str, str]]
"""Lines of a measures.csv."""


def show_phases_apart(
    runs: str | Path, *, model: str | None, embedder: str | None, limit: int
) -> None:
    """Print, for each two phases that follow each other in a run, what they share and what it cost.

    Args:
        runs: The folder that holds runs and their steps.
        model: As for `retain.api.show_similarity`.
        embedder: Likewise.
        limit: Training examples of each phase that are looked at, drawn by hash.

    Raises:
        RetainError: If no run has two phases whose data and measures are there, or an embedder
            does not open.
    """
    from retain import terminal

    if limit < 1:
        raise DataError(f"limit must be at least 1, got {limit}")
    place = place_of(runs)
    place.fetch_all()
    name, embed = embedder_of(model, embedder)
    rows: list[tuple[str, ...]] = []
    left_out: list[str] = []
    for path in sorted(place.folder.glob(f"*/{RESOLVED}")):
        with terminal.bar(f"reading {path.parent.name}"):
            try:
                rows += _rows_of_run(path, place, embed, limit)
            except RetainError as error:
                left_out.append(f"{path.parent.name} is left out: {error}")
    if not rows:
        reasons = "; ".join(left_out) or "no run has a phase after the first"
        raise StoreError(f"{place}: there are no two phases to look at: {reasons}")
    terminal.console().print(terminal.table("Phases that follow each other", COLUMNS, rows))
    terminal.say(NOTE.format(name=name))
    number, num_runs = len(rows), len({row[0] for row in rows})
    terminal.say(
        FORGOTTEN_NOTE.format(
            number=f"{number} pair" + "s" * (number > 1),
            num_runs=f"{num_runs} run" + "s" * (num_runs > 1),
        )
    )
    for line in left_out:
        terminal.say(line)


def _rows_of_run(path: Path, place: Place, embed: Embedder, limit: int) -> list[tuple[str, ...]]:
    """The rows of one run, by variant and phase."""
    measures = path.parent / "measures.csv"
    if not measures.is_file():
        raise StoreError("it has no measures.csv; `retain run` it to its end")
    prepared = prepare(path, (), place, None)
    with measures.open(encoding="utf-8", newline="") as stream:
        told = list(csv.DictReader(stream))
    seen: dict[Step, Portrait] = {}

    def look(step: Step) -> Portrait:
        if step not in seen:
            if not prepared.store.finished(step):
                raise StoreError(f"its step {step.folder} is not there")
            examples = order(read_examples(prepared.store.open(step, TRAIN)))
            seen[step] = portrait([sides(one) for one in examples[:limit]], embed)
        return seen[step]

    return list(_rows(prepared, told, path.parent.name, look))


def _rows(
    prepared: Prepared, told: Rows, run: str, look: Callable[[Step], Portrait]
) -> Iterator[tuple[str, ...]]:
    variants = {cell.variant: cell.recipe.phase_names for cell in prepared.resolved.cells}
    for variant, phases in variants.items():
        name = run if len(variants) == 1 else f"{run}, {variant}"
        for index, (first, second) in enumerate(pairwise(phases), start=2):
            both = [look(prepared.graph.data[variant, phase]) for phase in (first, second)]
            cost = (_divergence(told, variant, index), *_forgotten(told, variant, first, index))
            yield name, first, second, *shared(*both), *cost


def _divergence(told: Rows, variant: str, index: int) -> str:
    """How far plain training moved from the base model on a phase's task; of the first seed."""
    rows = _of_control(told, variant, index, "divergence")
    return rows[0]["value"] if rows else ""


def _forgotten(told: Rows, variant: str, phase: str, index: int) -> tuple[str, str, str, str]:
    """What plain training forgot of a phase's task by a later one; empty where it was not scored.

    Of several seeds the mean is told, of several numbers of shots the fewest.
    """
    rows = _of_control(told, variant, index, "forgetting")
    found = [row for row in rows if row["task"] == f"phase:{phase}"]
    if not found:
        return "", "", "", ""
    row = min(found, key=lambda one: (one["seed"] != "", int(one["num_fewshot"])))
    metric = f"{row['metric']}, {row['num_items']} items"
    return row["value"], row["ci_low"], row["ci_high"], metric


def _of_control(told: Rows, variant: str, index: int, measure: str) -> list[Mapping[str, str]]:
    return [
        row
        for row in told
        if (row["variant"], row["arm"], row["measure"]) == (variant, CONTROL, measure)
        and row["phase_index"] == str(index)
    ]
