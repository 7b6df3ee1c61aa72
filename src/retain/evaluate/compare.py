"""What one model scores beside another, item by item."""

from typing import Any

import numpy as np

from retain.errors import TaskError
from retain.evaluate.run import Evaluation
from retain.measure.statistics import generator, paired_interval

COMPARISON_COLUMNS = (
    "task",
    "metric",
    "num_fewshot",
    "value",
    "other",
    "difference",
    "ci_low",
    "ci_high",
    "num_items",
    "num_sources",
    "higher_is_better",
    "is_main",
    "unit",
)


def compare(found: Evaluation, other: Evaluation) -> list[dict[str, Any]]:
    """The difference of two models on the same items, each with its interval.

    Args:
        found: The model in question.
        other: What it is compared with, on the same tasks, shots and limit.

    Returns:
        A row per task, metric and number of shots, over items of both roles: ``value`` and
        ``other``, ``difference`` (value - other, in the metric's unit) and its paired 95 %
        interval, items resampled by what they share (``num_sources``). Metrics that are a number
        of the whole corpus alone have no interval.

    Raises:
        TaskError: If the items are not the same.
    """
    others = {_place(row): row for row in other.scores}
    rows = []
    for row in found.scores:
        if row["role"] != "all":
            continue
        twin = others.get(_place(row))
        if twin is None:
            raise TaskError(f"{row['task']}: the model compared with has no {row['metric']}")
        interval, num_sources = _interval(row, found.items, other.items)
        low, high = interval
        rows.append(
            {key: row[key] for key in COMPARISON_COLUMNS if key in row}
            | {"other": twin["value"], "difference": _minus(row["value"], twin["value"])}
            | {"ci_low": low, "ci_high": high, "num_sources": num_sources}
        )
    return rows


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["task"], row["metric"], row["num_fewshot"], row["role"]


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _interval(
    row: dict[str, Any], items: list[dict[str, Any]], others: list[dict[str, Any]]
) -> tuple[tuple[float | None, float | None], int | None]:
    """The interval of the difference, and how many sources its items have."""

    def chosen(of: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            item
            for item in of
            if (item["task"], item["num_fewshot"]) == (row["task"], row["num_fewshot"])
        ]

    mine, theirs = chosen(items), chosen(others)
    if [item["item"] for item in mine] != [item["item"] for item in theirs]:
        raise TaskError(f"{row['task']}: the two models were not scored on the same items")
    rng = generator("compare", row["task"], row["metric"], row["num_fewshot"])
    if row["aggregation"] == "ratio":
        pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if a["nats"] is not None]
        values = [[item["nats"] / np.log(2) for item in side] for side in zip(*pairs, strict=True)]
        weights = np.array([float(one["num_bytes"]) for one, _ in pairs])
    elif row["aggregation"] == "mean":
        name = f"metric:{row['metric']}"
        pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if name in a and name in b]
        values = [[item[name] for item in side] for side in zip(*pairs, strict=True)]
        weights = None
    else:
        return (None, None), None
    sources = np.array([one["source_item"] for one, _ in pairs])
    low, high = paired_interval(
        np.array(values[0]), np.array(values[1]), rng, weights_I=weights, clusters_I=sources
    )
    return (low, high), len(set(sources))
