"""Questions that were answered right before and wrong after, the worst first."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from retain.report.analysis import Analysis
from retain.report.comparisons import told_p
from retain.report.facts import Answer
from retain.report.flips import is_right_or_wrong, turned
from retain.report.results import Arm
from retain.report.scorebook import ScoreBook
from retain.report.scores import Checkpoint, ItemKey, TaskKey
from retain.report.text import metric_name, number, task_name

MOST_SHOWN = 10
"""Questions of one arm."""


@dataclass(frozen=True, kw_only=True)
class Turned:
    """One question that an arm answers wrong in the end, and answered right before.

    Attributes:
        since: The checkpoint before, in words.
        fall: How much the margin of the right choice fell, as text; empty where there is none.
    """

    task: str
    prompt: str
    target: str
    since: str
    before: str
    after: str
    fall: str


@dataclass(frozen=True, kw_only=True)
class FlipCount:
    """How many items of a task turned, in the end of one arm and seed.

    Attributes:
        p: Exact McNemar test, as text; empty where items share a source, so that it does not hold.
    """

    task: str
    since: str
    num_items: int
    right_to_wrong: int
    wrong_to_right: int
    p: str


@dataclass(frozen=True, kw_only=True)
class ArmFlips:
    """All that turned for one arm; ``worst`` is of the first seed."""

    arm: Arm
    place: int
    counts: tuple[FlipCount, ...]
    worst: tuple[Turned, ...]


def arm_flips(analysis: Analysis, book: ScoreBook) -> list[ArmFlips]:
    """For each arm, what turned after the last phase; arms without such items are left out.

    Counted since row 0; since just learnt for a task that an earlier phase taught. Of several seeds
    the first is told.
    """
    found = []
    for place, arm in book.placed:
        compared = list(_compared(book, arm))
        if compared:
            found.append(
                ArmFlips(
                    arm=arm,
                    place=place,
                    counts=tuple(_count(book, *one) for one in compared),
                    worst=tuple(_worst(analysis, book, compared)),
                )
            )
    return found


Compared = tuple[TaskKey, Checkpoint, Checkpoint]


def _compared(book: ScoreBook, arm: Arm) -> Iterator[Compared]:
    """Each shown task of right or wrong items, and the two checkpoints that are held together."""
    last = book.num_phases
    end = Checkpoint(book.variant.name, arm.name, book.seeds[0], last)
    for key in book.tasks:
        items = book.items_of(key)
        taught = book.taught_in(key) or 0
        start = end._replace(phase_index=taught if taught < last else 0)
        both = [items[where] for where in (start, end) if where in items]
        if book.is_shown(key) and len(both) == 2 and all(map(is_right_or_wrong, both)):
            yield key, start, end


def _count(book: ScoreBook, key: TaskKey, start: Checkpoint, end: Checkpoint) -> FlipCount:
    found = turned(book, key, start, end)
    assert found is not None  # `_compared` gives right or wrong items alone
    return FlipCount(
        task=f"{task_name(key.task)}, {metric_name(key.metric)}",
        since=_told(book, start),
        num_items=book.tasks[key].num_items,
        right_to_wrong=found.right_to_wrong,
        wrong_to_right=found.wrong_to_right,
        p="" if math.isnan(found.p) else told_p(found.p),
    )


def _told(book: ScoreBook, where: Checkpoint) -> str:
    return f"after {book.phase_name(where.phase_index)}" if where.phase_index else "base model"


def _worst(analysis: Analysis, book: ScoreBook, compared: list[Compared]) -> Iterator[Turned]:
    ranked = []
    for key, start, end in compared:
        items, questions = book.items_of(key), analysis.results.questions.get(key, {})
        before, after = (analysis.results.answers.get(ItemKey(w, key), {}) for w in (start, end))
        (fell,) = np.nonzero(items[start].values > items[end].values)
        for item in items[start].hashes[fell]:
            if item in questions and item in before and item in after:
                pair = before[item], after[item]
                ranked.append((-_fall(*pair), task_name(key.task), str(item), key, start, pair))
    for _, task, item, key, start, (was, now) in sorted(ranked, key=lambda one: one[:3])[
        :MOST_SHOWN
    ]:
        question, fall = analysis.results.questions[key][item], _fall(was, now)
        yield Turned(
            task=task,
            prompt=question.prompt,
            target=question.target,
            since=_told(book, start),
            before=was.text,
            after=now.text,
            fall=f"{number(was.margin, 2)} → {number(now.margin, 2)}" if fall > -math.inf else "",
        )


def _fall(before: Answer, after: Answer) -> float:
    """How far the right choice fell behind; answers without margins come last."""
    fall = before.margin - after.margin
    return -math.inf if math.isnan(fall) else fall
