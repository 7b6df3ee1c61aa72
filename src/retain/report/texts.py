"""What was asked and answered, item by item, as an evaluation step keeps it; all texts are hostile.

Only `report` items are read: nothing of a `select` item is ever shown.
"""

import json
from collections.abc import Sequence
from functools import cache
from math import nan
from pathlib import Path
from sys import intern

from retain.report.facts import Answer, Question
from retain.report.scores import TaskKey

MOST_CHARACTERS = 500
"""Of a question, its end: examples that go before it are cut off. Of an answer, its start."""

COLUMNS = (
    *("item", "role", "num_fewshot", "prompt", "target", "prediction"),
    *("answer", "choice_logprobs", "choice_bytes"),
)

Texts = tuple[dict[str, Question], dict[str, Answer]]


@cache
def read_texts(items: Path, scores: Path) -> dict[TaskKey, Texts]:
    """Questions and answers by hash, for each main metric and number of shots of a step.

    Args:
        items: ``items.parquet``.
        scores: ``scores.json`` beside it.
    """
    import pyarrow.parquet as parquet

    names = [name for name in COLUMNS if name in parquet.read_schema(items).names]
    rows = [
        row
        for row in parquet.read_table(items, columns=names).to_pylist()
        if row["role"] == "report"
    ]
    keys = {
        TaskKey(one["task"], one["metric"], one["num_fewshot"])
        for one in json.loads(scores.read_text("utf-8"))
        if one["is_main"] and one["aggregation"] == "mean"
    }
    return {key: _of(key, rows) for key in keys}


def _of(key: TaskKey, rows: Sequence[dict[str, object]]) -> Texts:
    questions: dict[str, Question] = {}
    answers: dict[str, Answer] = {}
    by_length = key.metric.endswith("norm")
    for row in rows:
        if row["num_fewshot"] != key.num_fewshot:
            continue
        item = str(row["item"])
        prompt, target = str(row.get("prompt") or ""), str(row.get("target") or "")
        cut = "…" if len(prompt) > MOST_CHARACTERS else ""
        asked = intern(cut + prompt[-MOST_CHARACTERS:])  # every checkpoint was asked the same
        questions[item] = Question(asked, intern(target[:MOST_CHARACTERS]))
        said = "" if by_length else str(row.get("prediction") or "")
        answers[item] = Answer(said[:MOST_CHARACTERS], _margin(row, by_length=by_length))
    return questions, answers


def _margin(row: dict[str, object], *, by_length: bool) -> float:
    """How much likelier the right choice is than the best wrong one, in nats; NaN without any.

    By the byte where the metric divides by length.
    """
    logprobs, right, sizes = row.get("choice_logprobs"), row.get("answer"), row.get("choice_bytes")
    if not isinstance(logprobs, list) or not isinstance(right, int) or len(logprobs) < 2:
        return nan
    if not 0 <= right < len(logprobs):
        return nan
    if by_length and isinstance(sizes, list) and all(sizes):
        logprobs = [value / size for value, size in zip(logprobs, sizes, strict=True)]
    others = [value for place, value in enumerate(logprobs) if place != right]
    return float(logprobs[right] - max(others))
