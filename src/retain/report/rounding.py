"""What rounding weights to 4 bits changed by itself, apart from what training changed."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from retain.measure.statistics import generator, paired_interval
from retain.pipeline.graph import Graph, Row
from retain.report.scores import Checkpoint, ItemKey, TaskKey
from retain.report.stored_items import stored_items
from retain.steps.step import Step
from retain.steps.store import Store


def rounding(graph: Graph, store: Store) -> Iterator[str]:
    """A line for each task of a row 0 in 4 bits, on `report` items; arms that share it once."""
    told: dict[tuple[Step, Step], str] = {}
    for row in graph.rows:
        where = Checkpoint(row.variant, row.arm, row.seed, row.phase_index)
        for task, whole in row.unquantised.items():
            pair = row.evaluations[task], whole
            if pair not in told:
                told[pair] = _line(pair, where, store)
    yield from filter(None, told.values())


def rounded_between(rows: Iterable[Row], store: Store) -> Iterator[str]:
    """A line for each phase that starts from weights rounded otherwise than they were left."""
    told: dict[str, None] = {}
    for row in rows:
        if row.train is None:
            continue
        facts = json.loads(store.open(row.train, "facts.json").read_text("utf-8"))
        if one := facts.get("rounded"):
            left, started = one["loss_left"], one["loss_started"]
            told.setdefault(
                f"{row.arm}, {row.phase}: starts from weights rounded otherwise (to 4 bits, or no "
                f"longer) than those scored after the phase before. Before any training the loss "
                f"on its first {one['trained_tokens']} trained tokens is {started:.3f} nats a "
                f"token, with the weights as they were left {left:.3f} ({started - left:+.3f})."
            )
    yield from told


def _line(pair: tuple[Step, Step], where: Checkpoint, store: Store) -> str:
    """The change of the main score; "" where items have no values of their own."""
    mains = [_main(step, store) for step in pair]
    rounded, whole = mains
    if rounded is None or whole is None:
        return ""
    key = TaskKey(rounded["task"], rounded["metric"], rounded["num_fewshot"])
    found = [stored_items(where, step, store).get(ItemKey(where, key)) for step in pair]
    if found[0] is None or found[1] is None:
        return ""
    after, before = (items.of_role("report") for items in found if items is not None)
    low, high = paired_interval(
        after.values,
        before.values,
        generator("rounding", *key),
        weights_I=after.weights,
        clusters_I=after.groups,
    )
    return (
        f"Weights of 4 bits, before any training: {key.task} {key.metric} "
        f"{rounded['value']:.3f}, in full precision {whole['value']:.3f} "
        f"({rounded['value'] - whole['value']:+.3f} [{low:+.3f}, {high:+.3f}], "
        f"{len(after.values)} items). What is called row 0 has 4 bits."
    )


def _main(step: Step, store: Store) -> Mapping[str, Any] | None:
    """The task's main score on `report` items, at the fewest shots."""
    scores = json.loads(store.open(step, "scores.json").read_text("utf-8"))
    mains = [
        score
        for score in scores
        if score["is_main"] and score["role"] == "report" and score["value"] is not None
    ]
    return min(mains, key=lambda score: score["num_fewshot"], default=None)
