"""Scores in the shape of lm-evaluation-harness's results file, for tools that read those.

Source: ``lm_eval.evaluator.simple_evaluate`` and its ``results_*.json``, lm-eval 0.4.13.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from time import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retain.evaluate.run import Evaluation

NO_FILTER = "none"


def harness_results(
    found: "Evaluation",
    specs: Sequence[Mapping[str, Any]],
    num_fewshot: int,
    config: dict[str, Any],
) -> dict[str, Any]:
    """One number of shots as the harness would write it.

    Args:
        found: What was scored.
        specs: The resolved tasks.
        num_fewshot: The number of shots; tasks that take none stand under 0.
        config: Model and settings, as they are told.

    Returns:
        ``results``, ``groups``, ``group_subtasks``, ``n-shot``, ``n-samples``,
        ``higher_is_better``, ``versions``, ``config``, ``date`` (seconds since 1970).
    """
    rows = [r for r in found.scores if r["num_fewshot"] == num_fewshot and r["role"] == "all"]
    names = list(dict.fromkeys(row["task"] for row in rows))
    results: dict[str, dict[str, Any]] = {name: {"alias": name} for name in names}
    better: dict[str, dict[str, bool]] = {name: {} for name in names}
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        results[row["task"]] |= _values(row)
        better[row["task"]][row["metric"].partition(",")[0]] = row["higher_is_better"]
        counts[row["task"]] = {"original": row["num_items"], "effective": row["num_items"]}
    groups: dict[str, dict[str, Any]] = {}
    subtasks: dict[str, list[str]] = {}
    for row in (one for one in found.group_scores if one["num_fewshot"] == num_fewshot):
        group = groups.setdefault(row["task"], {"alias": row["task"]})
        subtasks.setdefault(row["task"], row["tasks"])
        better.setdefault(row["task"], {})[row["metric"].partition(",")[0]] = row[
            "higher_is_better"
        ]
        group |= _values(row) | {"sample_len": row["num_items"]}
    versions = {spec["name"]: spec.get("task_version", spec["version"]) for spec in specs}
    return {
        "results": results | groups,
        "groups": groups,
        "group_subtasks": subtasks,
        "n-shot": dict.fromkeys(names, num_fewshot),
        "n-samples": counts,
        "higher_is_better": better,
        "versions": {name: versions[name] for name in names},
        "config": config,
        "date": time(),
        "lm_eval_version": version("lm_eval"),
    }


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    """The value of a row and its standard error, under the harness's keys."""
    metric, _, kind = row["metric"].partition(",")
    kind = kind or NO_FILTER
    return {
        f"{metric},{kind}": row["value"],
        f"{metric}_stderr,{kind}": "N/A" if row["stderr"] is None else row["stderr"],
    }
