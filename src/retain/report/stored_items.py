"""The items of a finished evaluation, read once however many arms share it."""

import json
from collections.abc import Mapping
from functools import cache
from math import log
from pathlib import Path
from typing import Any

import numpy as np

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
    found: dict[TaskKey, Items] = {}
    for score in json.loads(scores.read_text("utf-8")):
        key = TaskKey(score["task"], score["metric"], score["num_fewshot"])
        values, weights = _values(table, score)
        if values is None or key in found:
            continue
        chosen = (shots == score["num_fewshot"]) & ~np.isnan(values)
        found[key] = Items(
            hashes=columns["item"][chosen],
            roles=columns["role"][chosen],
            groups=columns["source_item"][chosen],
            values=values[chosen],
            weights=None if weights is None else weights[chosen],
        )
    return found


def _values(table: Any, score: Mapping[str, Any]) -> tuple[Any, Any]:
    """Above and below the line of a score, by item; (None, None) for a metric of the corpus."""

    def numbers(name: str) -> Any:
        return np.asarray(table[name].to_pylist(), dtype=np.float64)

    if score["aggregation"] == "ratio":
        return numbers("nats") / log(2), numbers("num_bytes")
    name = f"metric:{score['metric']}"
    if score["aggregation"] != "mean" or name not in table.column_names:
        return None, None
    return numbers(name), None
