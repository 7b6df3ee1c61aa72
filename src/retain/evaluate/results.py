"""From outcomes to scores with errors, chance and majority rates; rows for the files."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from math import isnan, log, sqrt
from random import Random
from typing import Any

import numpy as np

from retain.evaluate.item_values import item_values
from retain.evaluate.task import Metric, Outcome, Question, Task
from retain.measure.item_scores import sampled_scores
from retain.measure.statistics import generator

Asked = tuple[Question, Outcome]
ACCURACIES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
NUM_RESAMPLES = 100
PROMPT_CHARACTERS = 2000
ROLES = ("report", "select", "all")


def scores(task: Task, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """One row per metric, number of shots and role; ``all`` is both roles together.

    The standard error of a mean is that of its items; of bits per byte, the delta method for a
    ratio of sums; of a metric of the whole corpus, the deviation over 100 seeded resamples. These
    three take items as independent. Of a metric made of source items' means it is the deviation
    over draws of whole source items.
    """
    rows = []
    for num_fewshot in sorted({question.num_fewshot for question, _ in asked}):
        at = [pair for pair in asked if pair[0].num_fewshot == num_fewshot]
        for metric in task.metrics([outcome for _, outcome in at]):
            for role in ROLES:
                those = [
                    (question, outcome)
                    for question, outcome in at
                    if role in ("all", question.item.role) and _has(metric, outcome)
                ]
                if those:
                    place = {"task": task.name, "metric": metric.name, "num_fewshot": num_fewshot}
                    rows.append(place | {"role": role} | _row(task, metric, those))
    return rows


def _row(task: Task, metric: Metric, asked: Sequence[Asked]) -> dict[str, Any]:
    outcomes = [outcome for _, outcome in asked]
    value, stderr = _value(task, metric, asked)
    is_choice = metric.name in ACCURACIES and all(o.choice_logprobs for o in outcomes)
    return {
        "value": _finite(value),
        "stderr": _finite(stderr),
        "num_items": len(outcomes),
        "higher_is_better": metric.higher_is_better,
        "is_main": metric.is_main,
        "unit": metric.unit,
        "aggregation": metric.aggregation,
        "chance": chance(outcomes) if is_choice else None,
        "majority": majority(outcomes) if is_choice else None,
    }


def _finite(value: float) -> float | None:
    return None if isnan(value) else value


def _has(metric: Metric, outcome: Outcome) -> bool:
    if metric.aggregation == "ratio":
        return outcome.nats is not None
    return metric.name in outcome.metrics or metric.name in outcome.raw


def _value(task: Task, metric: Metric, asked: Sequence[Asked]) -> tuple[float, float]:
    outcomes = [outcome for _, outcome in asked]
    match metric.aggregation:
        case "mean":
            return mean_and_stderr([outcome.metrics[metric.name] for outcome in outcomes])
        case "ratio":
            return bits_per_byte(
                [outcome.nats or 0.0 for outcome in outcomes],
                [outcome.num_bytes or 0 for outcome in outcomes],
            )
        case "by_source":
            return task.aggregate(metric, outcomes), _stderr_of_sources(task, metric, asked)
        case _:
            value = task.aggregate(metric, outcomes)
            return value, _resampled(lambda some: task.aggregate(metric, some), outcomes)


def _stderr_of_sources(task: Task, metric: Metric, asked: Sequence[Asked]) -> float:
    """The deviation of a score over draws of whole source items; NaN with too few of them."""
    rows = item_rows(task, asked)
    score = {"metric": metric.name, "aggregation": metric.aggregation}
    kept = item_values(score, lambda name: [row.get(name) for row in rows])
    assert kept is not None  # such a metric is made of its items
    sources = np.array([row["source_item"] for row in rows])
    draws_RN = sampled_scores(
        [kept.figures(sources)], generator("stderr", task.name, metric.name), clusters_I=sources
    )
    return float(np.std(draws_RN[0, 1:], ddof=1))


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error (n - 1; NaN for one value).

    >>> mean_and_stderr([0.0, 1.0, 1.0, 0.0])
    (0.5, 0.28867513459481287)
    """
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, float("nan")
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, sqrt(variance / len(values))


def bits_per_byte(nats: Sequence[float], num_bytes: Sequence[int]) -> tuple[float, float]:
    """Summed nats over summed bytes, in bits, and its standard error by the delta method.

    >>> bits_per_byte([log(2), log(2)], [1, 3])[0]
    0.5
    """
    total = sum(num_bytes)
    if not total:  # nothing but empty texts
        return float("nan"), float("nan")
    ratio = sum(nats) / total
    count = len(nats)
    if count < 2:
        return ratio / log(2), float("nan")
    residuals = [n - ratio * size for n, size in zip(nats, num_bytes, strict=True)]
    variance = count / (count - 1) * sum(residual**2 for residual in residuals)
    return ratio / log(2), sqrt(variance) / total / log(2)


def _resampled(aggregate: Callable[[list[Outcome]], float], outcomes: list[Outcome]) -> float:
    if len(outcomes) < 2:
        return float("nan")
    draw = Random(0)
    values = [aggregate(draw.choices(outcomes, k=len(outcomes))) for _ in range(NUM_RESAMPLES)]
    return mean_and_stderr(values)[1] * sqrt(NUM_RESAMPLES)


def chance(outcomes: Sequence[Outcome]) -> float:
    """What guessing scores: the mean of one over the number of choices."""
    return sum(1 / len(outcome.choice_logprobs) for outcome in outcomes) / len(outcomes)


def majority(outcomes: Sequence[Outcome]) -> float:
    """What always taking the most frequent right place scores."""
    places = Counter(outcome.answer for outcome in outcomes if outcome.answer is not None)
    return max(places.values(), default=0) / len(outcomes)


def item_rows(task: Task, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """One row per question, as ``items.parquet`` keeps it."""
    return [
        {
            "task": task.name,
            "item": question.item.key,
            "role": question.item.role,
            "num_fewshot": question.num_fewshot,
            "source_item": question.item.source_item,
            **{f"metric:{name}": value for name, value in outcome.metrics.items()},
            "prediction": outcome.prediction,
            "target": outcome.target,
            "answer": outcome.answer,
            "choice_logprobs": outcome.choice_logprobs,
            "choice_bytes": outcome.choice_bytes,
            "nats": outcome.nats,
            "num_bytes": outcome.num_bytes,
            "prompt": question.prompt[:PROMPT_CHARACTERS],
            "response": outcome.response,
            "raw": json.dumps(outcome.raw, default=str, ensure_ascii=False),
        }
        for question, outcome in asked
    ]


def write_items(rows: Sequence[dict[str, Any]], path: Any) -> None:
    """Write ``items.parquet``: the columns of ``item_rows``, and one for each metric."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metrics = sorted({name for row in rows for name in row if name.startswith("metric:")})
    text, number = pa.string(), pa.float64()
    schema = pa.schema(
        [("task", text), ("item", text), ("role", text), ("num_fewshot", pa.int32())]
        + [("source_item", text)]
        + [(name, number) for name in metrics]
        + [("prediction", text), ("target", text), ("answer", pa.int32())]
        + [("choice_logprobs", pa.list_(number)), ("choice_bytes", pa.list_(pa.int32()))]
        + [("nats", number), ("num_bytes", pa.int64())]
        + [("prompt", text), ("response", text), ("raw", text)]
    )
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
