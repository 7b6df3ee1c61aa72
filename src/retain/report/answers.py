"""Which answers are given, beside every accuracy: a collapse looks different from a loss.

A model that has lost what it knew still gives many answers; one that has collapsed gives one of
them to nearly everything, and its accuracy is that answer's share of the items.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isnan

from retain.report.given import Given, Sampled
from retain.report.measured import (
    COMMONEST,
    RIGHT_ANSWER,
    RIGHT_ANSWER_CHANGE,
    Measured,
    of_task,
)
from retain.report.results import Arm
from retain.report.scorebook import MISSING, Floats, ScoreBook, figure, interval, mean_over_seeds
from retain.report.scores import Checkpoint, TaskKey
from retain.report.text import ends, number, one_line, signed, task_name

MOST_NAMED = 3
"""Answers told by name; the others are told together."""


def answer_measures(book: ScoreBook, arm: str, seed: int) -> Iterator[Measured]:
    """Log-probability of the right answer and share of the commonest, phase by phase."""
    for key, sampled in book.answers.items():
        base = Checkpoint(book.variant.name, arm, seed, 0)
        missing = (MISSING, MISSING)
        for phase in range(book.num_phases + 1):
            right_N, commonest_N = sampled.get(base._replace(phase_index=phase), missing)
            yield of_task(book, phase, key, RIGHT_ANSWER, right_N)
            if phase:
                change_N = right_N - sampled.get(base, missing)[0]
                yield of_task(book, phase, key, RIGHT_ANSWER_CHANGE, change_N)
            yield of_task(book, phase, key, COMMONEST, commonest_N)


# ---------------------------------------------------------------- for the page


@dataclass(frozen=True, kw_only=True)
class AnswerLine:
    """One checkpoint's answers to one task.

    Attributes:
        who: The checkpoint in words, where it is not an arm's end.
        arm: The arm whose end it is, and its place; None for what ``who`` tells.
        right: Bits per byte of the right answer; change from base, and its interval.
        commonest: Share of the commonest answer, and its interval.
        given: The answers and their shares.
        is_collapsed: Whether nearly everything is answered alike; see `is_collapse`.
    """

    who: str = ""
    arm: Arm | None = None
    place: int = 0
    right: tuple[str, str, str] = ("", "", "")
    commonest: tuple[str, str] = ("", "")
    given: str = ""
    is_collapsed: bool = False


@dataclass(frozen=True, kw_only=True)
class AnswerTable:
    """All checkpoints of one task; the first line is of the right answers."""

    task: str
    num_items: int
    lines: tuple[AnswerLine, ...]


def is_collapse(commonest_N: Floats, right_share: float) -> bool:
    """Whether nearly all items get one answer.

    Its share must lie, with its whole interval, above the middle between 1 and the share that the
    commonest right answer has.

    >>> import numpy as np
    >>> is_collapse(np.full(41, 0.9), 0.5), is_collapse(np.full(41, 0.7), 0.5)
    (True, False)
    """
    low = interval(commonest_N).low
    return not isnan(low) and low > (1 + right_share) / 2


def answer_tables(book: ScoreBook) -> list[AnswerTable]:
    """What is answered to each shown task with choices: base model, just learnt, every arm's end.

    Figures are means over seeds.
    """
    return [
        AnswerTable(
            task=task_name(key.task),
            num_items=book.tasks[key].num_items,
            lines=tuple(_lines(book, key, sampled)),
        )
        for key, sampled in book.answers.items()
        if book.is_shown(key)
    ]


def collapses(book: ScoreBook, arm: str) -> list[str]:
    """A sentence for each shown task to which an arm gives nearly always one answer in the end."""
    told = []
    for table in answer_tables(book):
        for line in table.lines:
            if line.is_collapsed and line.arm is not None and line.arm.name == arm:
                answer = line.given.partition(", ")[0]
                told.append(f"Its answers to {table.task} have collapsed: {answer}.")
    return told


def _lines(book: ScoreBook, key: TaskKey, sampled: Sampled) -> Iterator[AnswerLine]:
    given = book.given_of(key)
    first = next(iter(given.values()))
    right = Counter(map(first.name, first.right.tolist()))
    yield AnswerLine(who="right answers", given=_told(right))
    right_share = max(right.values()) / right.total()
    control = book.control or book.arms[0].name
    before = [("base model", 0)]
    if 0 < (taught := book.taught_in(key) or 0) < book.num_phases:
        before.append((f"{control}, after {book.phase_name(taught)}", taught))
    for who, phase in before:
        if line := _line(book, sampled, given, (control, phase), right_share):
            yield replace(line, who=who)
    for place, arm in book.placed:
        if line := _line(book, sampled, given, (arm.name, book.num_phases), right_share):
            yield replace(line, arm=arm, place=place)


def _line(
    book: ScoreBook,
    sampled: Sampled,
    given: dict[Checkpoint, Given],
    where: tuple[str, int],
    right_share: float,
) -> AnswerLine | None:
    """What a line says of an arm after a phase; None where a seed was not scored."""
    arm, phase = where
    here = [Checkpoint(book.variant.name, arm, seed, phase) for seed in book.seeds]
    base = [one._replace(phase_index=0) for one in here]
    if not all(one in sampled for one in (*here, *base)):
        return None
    right_N = mean_over_seeds([sampled[one][0] for one in here], RIGHT_ANSWER.name)
    commonest_N = mean_over_seeds([sampled[one][1] for one in here], COMMONEST.name)
    pairs = zip(here, base, strict=True)
    change_N = mean_over_seeds(
        [sampled[now][0] - sampled[was][0] for now, was in pairs], RIGHT_ANSWER_CHANGE.name
    )
    told = (signed(figure(change_N)), ends(interval(change_N))) if phase else ("", "")
    return AnswerLine(
        right=(number(figure(right_N)), *told),
        commonest=(number(figure(commonest_N)), ends(interval(commonest_N), signs=False)),
        given=_told(Counter(given[one].name(n) for one in here for n in given[one].taken.tolist())),
        is_collapsed=is_collapse(commonest_N, right_share),
    )


def _told(answers: Counter[str]) -> str:
    r"""The commonest answers with their shares, the others together.

    >>> _told(Counter({"yes": 3, "no": 1}))
    'yes 75\xa0%, no 25\xa0%'
    """
    ranked = sorted(answers.items(), key=lambda one: (-one[1], one[0]))
    told = [f"{one_line(name, 40)} {_percent(num, answers)}" for name, num in ranked[:MOST_NAMED]]
    if others := ranked[MOST_NAMED:]:
        word = "other" if len(others) == 1 else "others"
        told.append(f"{len(others)} {word} {_percent(sum(n for _, n in others), answers)}")
    return ", ".join(told)


def _percent(num: int, answers: Counter[str]) -> str:
    return f"{100 * num / answers.total():.0f}\N{NO-BREAK SPACE}%"
