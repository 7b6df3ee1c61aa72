"""The items of a finished evaluation, read once however many arms share it."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from retain.evaluate.item_values import item_values
from retain.report.scores import Checkpoint, ItemKey, Items, TaskKey
from retain.steps.step import Step
from retain.steps.store import Store


def stored_items(checkpoint: Checkpoint, step: Step, store: Store) -> dict[ItemKey, Items]:
    """What an evaluation of this checkpoint keeps of each item, by task, metric and shots."""
    read = _read_items(store.open(step, "items.parquet"), store.open(step, "scores.json"))
    return {ItemKey(checkpoint, key): items for key, items in read.items()}


@cache
def _read_items(path: Path, scores: Path) -> dict[TaskKey, Items]:
    """The items of a step by metric and shots; read once though many arms share row 0."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    columns = {
        name: np.asarray(table[name].to_pylist()) for name in ("item", "role", "source_item")
    }
    shots = np.asarray(table["num_fewshot"].to_pylist())

    @cache
    def column(name: str) -> Sequence[Any] | None:
        return table[name].to_pylist() if name in table.column_names else None

    found: dict[TaskKey, Items] = {}
    for score in json.loads(scores.read_text("utf-8")):
        key = TaskKey(score["task"], score["metric"], score["num_fewshot"])
        if key in found or (kept := item_values(score, column)) is None:
            continue
        every = Items(
            hashes=columns["item"],
            roles=columns["role"],
            groups=columns["source_item"],
            values=kept.values,
            weights=kept.weights,
            by_source=kept.by_source,
            formula=kept.formula,
        )
        found[key] = every.at(np.flatnonzero((shots == score["num_fewshot"]) & kept.known))
    return found
