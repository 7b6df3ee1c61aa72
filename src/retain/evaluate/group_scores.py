"""Scores of lm-eval's groups, by the harness's own aggregation.

Source: ``lm_eval.api.group.Group.aggregate``, lm-eval 0.4.13.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from retain.evaluate.harness_json import NO_FILTER

Row = Mapping[str, Any]


def group_scores(
    groups: Sequence[Mapping[str, Any]], scores: Sequence[Row], role: str = "all"
) -> list[dict[str, Any]]:
    """A row per group, metric, filter and number of shots, where the group's file names metrics.

    Args:
        groups: As ``catalog.groups_of`` gives them.
        scores: Rows of the tasks. One that has a single number of shots stands under every number
            of its group, as a task that takes none does in the harness.
        role: Of the rows to take.

    Returns:
        ``task`` (the group), ``metric``, ``num_fewshot``, ``role``, ``value``, ``stderr``,
        ``num_items``, ``tasks`` (those that have the metric).
    """
    rows = [row for row in scores if row["role"] == role and row["value"] is not None]
    found = []
    for group in groups:
        inside = [row for row in rows if row["task"] in group["tasks"]]
        for asked in group["metrics"]:
            named = asked.get("filter_list")
            wanted = [named] if isinstance(named, str) else named
            for metric in sorted({row["metric"] for row in inside}):
                bare, _, kind = metric.partition(",")
                if bare == asked["metric"] and (wanted is None or (kind or NO_FILTER) in wanted):
                    those = [row for row in inside if row["metric"] == metric]
                    weighted = bool(asked.get("weight_by_size", True))
                    found += _rows(str(group["name"]), metric, those, weighted=weighted)
    return found


def _rows(name: str, metric: str, rows: Sequence[Row], *, weighted: bool) -> list[dict[str, Any]]:
    """The group's value of one metric at every number of shots its tasks were asked at."""
    by_task: dict[str, dict[int, Row]] = {}
    for row in rows:
        by_task.setdefault(row["task"], {})[row["num_fewshot"]] = row
    numbers = max((sorted(one) for one in by_task.values()), key=lambda one: (len(one), one))
    found = []
    for num_fewshot in numbers:
        at = [one.get(num_fewshot) or next(iter(one.values())) for one in by_task.values()]
        value, stderr = _aggregated(at, weighted=weighted)
        found.append(
            {
                "task": name,
                "metric": metric,
                "num_fewshot": num_fewshot,
                "role": at[0]["role"],
                "value": value,
                "stderr": stderr,
                "num_items": sum(row["num_items"] for row in at),
                "higher_is_better": at[0]["higher_is_better"],
                "is_main": all(row["is_main"] for row in at),
                "chance": None,
                "majority": None,
                "tasks": list(by_task),
            }
        )
    return found


def _aggregated(rows: Sequence[Row], *, weighted: bool) -> tuple[float, float | None]:
    from lm_eval.api import metrics

    sizes = [row["num_items"] for row in rows]
    value = metrics.aggregate_subtask_metrics([row["value"] for row in rows], sizes, weighted)
    errors = [row["stderr"] for row in rows]
    if any(error is None for error in errors):
        return float(value), None
    pooled = metrics.pooled_sample_stderr
    stderr = pooled(errors, sizes) if weighted else metrics.unweighted_mean_stderr(errors)
    return float(value), float(stderr)
