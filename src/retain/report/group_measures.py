"""What happened to the tasks that are taught, and to each group of the recipe."""

import math
from collections.abc import Iterator
from itertools import chain

import numpy as np

from retain.measure import forgetting as formulas
from retain.report.measured import (
    AVERAGE,
    BACKWARD,
    CHANGE,
    FG,
    FG_ADJUSTED,
    FORGETTING,
    FORWARD,
    LEARNING,
    Measure,
    Measured,
    of_group,
    of_tasks,
)
from retain.report.scorebook import PHASES, Floats, ScoreBook, interval
from retain.report.scores import TaskKey


def phase_measures(book: ScoreBook, arm: str, seed: int) -> Iterator[Measured]:
    """Forgetting, transfer, average and learning score of the taught tasks, after each phase.

    Given for each task's fewest shots, then for every number of shots at which the tasks of all
    phases were scored.
    """
    fewest = book.phase_keys()
    others = [book.phase_keys(num_fewshot) for num_fewshot in book.shots]
    for keys in [fewest, *(keys for keys in others if keys != fewest)]:
        if len(keys) == book.num_phases:
            for phase in range(1, book.num_phases + 1):
                yield from _after_phase(book, arm, seed, phase, keys[:phase])


def _after_phase(
    book: ScoreBook, arm: str, seed: int, phase: int, taught: list[TaskKey]
) -> Iterator[Measured]:
    score_NPT = book.matrix(arm, seed, taught, phase)
    base_NT = book.base(arm, seed, taught)
    forward_NT = formulas.forward_transfer(score_NPT, base_NT)
    yield from of_tasks(book, phase, taught[1:][-1:], FORWARD, forward_NT[:, -1:])
    figures: list[tuple[Measure, list[TaskKey], Floats]] = [
        (FORGETTING, taught[:-1], formulas.forgetting(score_NPT)),
        (BACKWARD, taught[:-1], formulas.backward_transfer(score_NPT)),
    ]
    for measure, keys, value_NT in figures:
        yield from of_tasks(book, phase, keys, measure, value_NT)
    figures += [
        (FORWARD, taught[1:], forward_NT),
        (AVERAGE, taught, score_NPT[:, -1]),
        (LEARNING, taught, formulas.just_learnt(score_NPT)),
    ]
    for measure, keys, value_NT in figures:
        if keys:
            yield from of_group(book, phase, PHASES, keys, measure, value_NT)


def group_measures(book: ScoreBook, arm: str, seed: int) -> Iterator[Measured]:
    """Change from base and FG of each group, over its tasks that have headroom.

    Given for each task's fewest shots, then for every number of shots, over the tasks scored at it.
    """
    fewest = book.group_keys()
    others = [book.group_keys(num_fewshot) for num_fewshot in book.shots]
    for group, members in chain(fewest.items(), *(keys.items() for keys in others)):
        if members is not fewest[group] and members == fewest[group]:
            continue
        keys = [key for key in members if book.tasks[key].can_show_loss]
        if keys:
            yield from _change(book, arm, seed, group, keys)
        yield from _fg(book, arm, seed, group, members)


def _change(
    book: ScoreBook, arm: str, seed: int, group: str, keys: list[TaskKey]
) -> Iterator[Measured]:
    score_NPT = book.matrix(arm, seed, keys, book.num_phases)
    change_NPT = formulas.change_from_base(score_NPT, book.base(arm, seed, keys))
    for phase in range(1, book.num_phases + 1):
        yield from of_group(book, phase, group, keys, CHANGE, change_NPT[:, phase - 1])


def _fg(
    book: ScoreBook, arm: str, seed: int, group: str, keys: list[TaskKey]
) -> Iterator[Measured]:
    """FG over all phases and after the last one alone, plain and with chance taken off."""
    score_NPT = book.matrix(arm, seed, keys, book.num_phases)
    base_NT = book.base(arm, seed, keys)
    yield from _both_means(book, group, keys, FG, formulas.relative_loss(score_NPT, base_NT))
    index = [t for t, key in enumerate(keys) if book.tasks[key].chance is not None]
    if index:
        guessed = [keys[t] for t in index]
        loss_NPT = _adjusted_loss(book, guessed, score_NPT[..., index], base_NT[..., index])
        yield from _both_means(book, group, guessed, FG_ADJUSTED, loss_NPT)


def _both_means(
    book: ScoreBook, group: str, keys: list[TaskKey], measure: Measure, loss_NPT: Floats
) -> Iterator[Measured]:
    last = measure._replace(name=f"{measure.name}_last_phase")
    for name, loss_NT in ((measure, formulas.all_phase_mean(loss_NPT)), (last, loss_NPT[:, -1])):
        yield from of_tasks(book, book.num_phases, keys, name, loss_NT)
        index = [t for t, key in enumerate(keys) if book.tasks[key].can_show_loss]
        if index:
            averaged = [keys[t] for t in index]
            yield from of_group(book, book.num_phases, group, averaged, name, loss_NT[:, index])


def _adjusted_loss(
    book: ScoreBook, keys: list[TaskKey], score_NPT: Floats, base_NT: Floats
) -> Floats:
    """Chance-adjusted loss, refused where the interval of row 0 minus chance includes 0."""
    chances = [book.tasks[key].chance for key in keys]
    chance_T = np.array([math.nan if chance is None else chance for chance in chances])
    above = [interval(base_NT[:, t] - chance).is_above_zero for t, chance in enumerate(chance_T)]
    return formulas.chance_adjusted_loss(score_NPT, base_NT, chance_T, np.array(above))
