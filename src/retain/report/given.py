"""Which answers a checkpoint gave to items with choices, as its evaluation keeps them.

Shapes: I = `report` items, in the order of their hashes; N = the figure itself and its resamples.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retain.measure.item_scores import Floats, ItemFigures, Names, sampled_scores
from retain.measure.statistics import generator
from retain.report.scores import Checkpoint, TaskKey

Sampled = dict[Checkpoint, tuple[Floats, Floats]]
"""Of each checkpoint, the figures and their resamples, (N,): bits per byte of the right answer, at
most 0, and the share of items that get the answer given most often."""

COLUMNS = (
    *("item", "role", "num_fewshot", "prediction", "target"),
    *("answer", "choice_logprobs", "choice_bytes"),
)
MOST_CHARACTERS = 60


@dataclass(frozen=True, kw_only=True)
class Given:
    """The answers to one task's `report` items at one checkpoint.

    Attributes:
        names: The answers there are, for people; hostile. Empty where each item has choices of its
            own: an answer is then told by its place among them.
        taken: Which answer was taken, by its place in ``names`` or among the item's choices; (I,).
        right: Which one is right; (I,).
        nats: Log-probability of the right one, in nats, at most 0; (I,).
        num_bytes: Its UTF-8 bytes; (I,).
    """

    names: tuple[str, ...]
    taken: NDArray[np.int64]
    right: NDArray[np.int64]
    nats: NDArray[np.float64]
    num_bytes: NDArray[np.float64]

    @property
    def commonest(self) -> int:
        """The answer given most often; of several the first."""
        taken: Counter[int] = Counter(self.taken.tolist())
        return min(taken, key=lambda answer: (-taken[answer], answer))

    def name(self, answer: int) -> str:
        """What an answer is called.

        >>> one, nats = np.array([0]), np.array([-1.0])
        >>> Given(names=(), taken=one, right=one, nats=nats, num_bytes=nats).name(0)
        'choice 1'
        """
        return self.names[answer] if self.names else f"choice {answer + 1}"


def sampled_given(key: TaskKey, given: Mapping[Checkpoint, Given], sources: Names) -> Sampled:
    """Both figures of every checkpoint of a task, all under the draws of its scores.

    Args:
        key: The task.
        given: Of each checkpoint; all of the same items.
        sources: The source item of each item.
    """
    rows = []
    for one in given.values():
        rows.append(ItemFigures(one.nats / log(2), one.num_bytes))
        rows.append(ItemFigures((one.taken == one.commonest).astype(np.float64)))
    drawn = sampled_scores(rows, generator("items", *key), clusters_I=sources)
    return {where: (drawn[2 * n], drawn[2 * n + 1]) for n, where in enumerate(given)}


@cache
def read_given(items: Path, scores: Path) -> Mapping[TaskKey, Given]:
    """The answers given, for each main metric and number of shots of a step that has choices.

    Args:
        items: ``items.parquet``.
        scores: ``scores.json`` beside it.
    """
    import pyarrow.parquet as parquet

    held = parquet.read_schema(items).names
    if not {"answer", "choice_logprobs", "choice_bytes"} <= set(held):
        return {}
    rows = parquet.read_table(items, columns=[name for name in COLUMNS if name in held])
    asked = [row for row in rows.to_pylist() if row["role"] == "report"]
    asked.sort(key=lambda row: str(row["item"]))
    found: dict[TaskKey, Given] = {}
    for one in json.loads(scores.read_text("utf-8")):
        key = TaskKey(one["task"], one["metric"], one["num_fewshot"])
        if one["is_main"] and one["chance"] is not None and key not in found:
            its = [row for row in asked if row["num_fewshot"] == key.num_fewshot]
            if its and all(map(_has_choices, its)):
                found[key] = _of(its, by_length=key.metric.endswith("norm"))
    return found


def _has_choices(row: Mapping[str, Any]) -> bool:
    """Whether the right answer is one of several that were scored, and has a length."""
    logprobs, right, sizes = row["choice_logprobs"], row["answer"], row["choice_bytes"]
    return (
        bool(logprobs)
        and right is not None
        and 0 <= right < len(logprobs) == len(sizes or ())
        and sizes[right] > 0
    )


def _of(rows: Sequence[Mapping[str, Any]], *, by_length: bool) -> Given:
    right_I = [row["answer"] for row in rows]
    taken_I = [_taken(row, by_length=by_length) for row in rows]
    names: tuple[str, ...] = ()
    targets = {str(row["target"]) for row in rows}
    if not by_length and len(targets) <= max(len(row["choice_logprobs"]) for row in rows):
        texts = targets | {str(row["prediction"]) for row in rows}
        place = {text: number for number, text in enumerate(sorted(texts))}
        names = tuple(text.strip()[:MOST_CHARACTERS] for text in place)
        right_I = [place[str(row["target"])] for row in rows]
        taken_I = [place[str(row["prediction"])] for row in rows]
    return Given(
        names=names,
        taken=np.array(taken_I, np.int64),
        right=np.array(right_I, np.int64),
        nats=np.array([row["choice_logprobs"][row["answer"]] for row in rows], np.float64),
        num_bytes=np.array([row["choice_bytes"][row["answer"]] for row in rows], np.float64),
    )


def _taken(row: Mapping[str, Any], *, by_length: bool) -> int:
    """The place of the likeliest choice, by the byte where the metric divides by length."""
    logprobs, sizes = row["choice_logprobs"], row["choice_bytes"]
    if by_length and all(sizes):
        logprobs = [value / size for value, size in zip(logprobs, sizes, strict=True)]
    return max(range(len(logprobs)), key=logprobs.__getitem__)
