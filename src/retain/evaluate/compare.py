"""What one model scores beside another, item by item."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from retain.errors import TaskError
from retain.evaluate.item_values import item_values
from retain.evaluate.run import Evaluation
from retain.measure.item_scores import sampled_scores
from retain.measure.statistics import generator, num_clusters, percentile_interval

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
        interval, items resampled by what they share (``num_sources``). There is none for a number
        of the whole corpus alone, or with fewer sources than `MIN_CLUSTERS`.

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
    kept = [item_values(row, partial(_column, side)) for side in (mine, theirs)]
    both = [one for one in kept if one is not None]
    if len(both) < len(kept):
        return (None, None), None
    has_it = both[0].known & both[1].known
    sources = np.array([one["source_item"] for one in mine])[has_it]
    sampled_RN = sampled_scores(
        [one.at(has_it).figures(sources) for one in both],
        generator("compare", row["task"], row["metric"], row["num_fewshot"]),
        clusters_I=sources,
    )
    sure = percentile_interval(sampled_RN[0, 1:] - sampled_RN[1, 1:])
    return (sure if sure.known else (None, None)), num_clusters(sources)


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """A column of the items; None for an item without it."""
    return [row.get(name) for row in rows]
