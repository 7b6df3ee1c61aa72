"""What happened to each task by itself: change from base, flips, learnt, difference from `none`."""

from collections.abc import Iterator, Mapping

from retain.measure import forgetting as formulas
from retain.measure.statistics import smallest_visible_change
from retain.report.flips import SampledFlips, turned
from retain.report.measured import (
    AVOIDED,
    BEYOND_CHANCE,
    CHANCE,
    CHANGE,
    DIFFERENCE,
    HEADROOM,
    LEARNT,
    MAJORITY,
    RIGHT_TO_WRONG,
    SCORE,
    VISIBLE,
    WRONG_TO_RIGHT,
    Measured,
    of_task,
)
from retain.report.scorebook import MISSING, Floats, ScoreBook, interval, without_resamples
from retain.report.scores import Checkpoint, TaskKey

AllFlips = Mapping[TaskKey, Mapping[Checkpoint, SampledFlips]]


def task_measures(book: ScoreBook, arm: str, seed: int, all_flips: AllFlips) -> Iterator[Measured]:
    """All figures of single tasks, for one arm and seed, task by task and phase by phase."""
    for key, facts in book.tasks.items():
        yield from _before_training(book, arm, seed, key)
        turn = 1 if facts.higher_is_better else -1
        score = SCORE._replace(unit=facts.unit)
        for row in range(book.num_phases + 1):
            yield of_task(book, row, key, score, turn * book.score(arm, seed, row, key))
        base_N = book.score(arm, seed, 0, key)
        for phase in range(1, book.num_phases + 1):
            now_N = book.score(arm, seed, phase, key)
            here = Checkpoint(book.variant.name, arm, seed, phase)
            since_base = turned(book, key, here._replace(phase_index=0), here)
            yield of_task(book, phase, key, CHANGE, now_N - base_N, since_base)
            control = book.control_of(arm)
            if control not in (None, arm):
                apart_N = now_N - book.score(control, seed, phase, key)
                beside = turned(book, key, here._replace(arm=control), here)
                yield of_task(book, phase, key, DIFFERENCE, apart_N, beside)
                if (book.taught_in(key) or 0) < phase:
                    avoided_N = loss_avoided(book, arm, seed, phase, key)
                    yield of_task(book, phase, key, AVOIDED, avoided_N)
            if book.taught_in(key) == phase:
                share_N = learnt(book, arm, seed, phase, key)
                yield of_task(book, phase, key, LEARNT, share_N)
            yield from _flips(book, here, key, all_flips[key])
        change_N = book.score(arm, seed, book.num_phases, key) - base_N
        visible_N = without_resamples(smallest_visible_change(change_N[1:]))
        yield of_task(book, book.num_phases, key, VISIBLE, visible_N)


def loss_avoided(book: ScoreBook, arm: str, seed: int, phase_index: int, key: TaskKey) -> Floats:
    """Share of the control's loss since the base model that an arm does not have.

    Refused (NaN) where the control's change is not below 0 beyond its interval.
    """
    control = book.control_of(arm)
    if control is None:
        return MISSING
    base_N = book.score(control, seed, 0, key)
    control_N = book.score(control, seed, phase_index, key)
    if not interval(control_N - base_N).is_below_zero:
        return MISSING
    return formulas.loss_avoided(book.score(arm, seed, phase_index, key), base_N, control_N)


def learnt(book: ScoreBook, arm: str, seed: int, phase_index: int, key: TaskKey) -> Floats:
    """Share of the control's gain on the task of a phase, right after that phase.

    The score before is the control's own, so that an arm without earlier rows (`joint`), or with
    another first phase, is held to the same rule. Refused (NaN) where the control's gain is not
    above 0 beyond its interval.
    """
    control = book.control_of(arm)
    if control is None:
        return MISSING
    before_N = book.score(control, seed, phase_index - 1, key)
    control_N = book.score(control, seed, phase_index, key)
    if not interval(control_N - before_N).is_above_zero:
        return MISSING
    return formulas.learnt(book.score(arm, seed, phase_index, key), before_N, control_N)


def _before_training(book: ScoreBook, arm: str, seed: int, key: TaskKey) -> Iterator[Measured]:
    """Chance, majority class and headroom of row 0, where the task has them."""
    facts = book.tasks[key]
    if facts.chance is not None:
        yield of_task(book, 0, key, CHANCE, without_resamples(facts.chance))
    if facts.majority is not None:
        yield of_task(book, 0, key, MAJORITY, without_resamples(facts.majority))
    if facts.level is not None:
        base_N = book.score(arm, seed, 0, key)
        yield of_task(book, 0, key, HEADROOM, base_N - facts.level)


def _flips(
    book: ScoreBook,
    checkpoint: Checkpoint,
    key: TaskKey,
    its_flips: Mapping[Checkpoint, SampledFlips],
) -> Iterator[Measured]:
    """Items that changed side since the base model, or since just learnt for a task taught."""
    if not its_flips:
        return
    _, arm, seed, phase_index = checkpoint
    taught_in = book.taught_in(key) or 0
    versus = "just_learnt" if 0 < taught_in < phase_index else "base"
    lost_N = gained_N = beyond_N = MISSING
    both = None
    chance = book.tasks[key].chance
    found = its_flips.get(checkpoint)
    if found:
        lost_N, gained_N, since = found
        both = turned(book, key, checkpoint._replace(phase_index=since), checkpoint)
        if chance:
            before_N = book.score(arm, seed, since, key)
            after_N = book.score(arm, seed, phase_index, key)
            beyond_N = formulas.lost_beyond_chance(lost_N, before_N, after_N, chance)
    sampled = [(RIGHT_TO_WRONG, lost_N), (WRONG_TO_RIGHT, gained_N)]
    if chance:
        sampled.append((BEYOND_CHANCE, beyond_N))
    for measure, value_N in sampled:
        yield of_task(book, phase_index, key, measure._replace(versus=versus), value_N, both)
