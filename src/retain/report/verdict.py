"""What to ship, and what it breaks: two sentences made from figures and intervals.

The arm is chosen on `select` items (see `choice`); every figure said here is of `report` items. A
remedy is named only if it loses less than the best plain rate beyond the paired interval, at nearly
equal learnt new task: it must be eligible by the rule on `select` items, and on `report` items the
paired interval of its gain less the rule's share of the plain rate's gain must not lie wholly below
0. Otherwise the plain rate is the answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retain.measure.statistics import FEW_CLUSTERS, Interval
from retain.model.auto_class import auto_class
from retain.report.answers import collapses
from retain.report.choice import Choice, Rule, new_task, standing, unranked
from retain.report.gates import FailedGate
from retain.report.results import Results
from retain.report.scorebook import Floats, ScoreBook, figure, interval, mean_over_seeds
from retain.report.scores import Checkpoint, TaskKey
from retain.report.task_measures import learnt
from retain.report.text import apart, ends, listed, metric_name, number, signed, task_name


@dataclass(frozen=True, kw_only=True)
class Move:
    """How one task moved between two checkpoints of an arm, in the unit of its metric.

    Attributes:
        before: Of row 0; of the best earlier phase for a task that was taught.
        change: Negative is loss, whatever the metric's direction (sampled).
        since: Name of the phase that ``before`` is of.
    """

    key: TaskKey
    before: float
    after: float
    change: Floats
    higher_is_better: bool
    since: str
    num_items: int

    @property
    def interval(self) -> Interval:
        """95 % interval of the change."""
        return interval(self.change)

    def told(self) -> str:
        """The move in one line; the sign is that of the metric itself."""
        turn = 1 if self.higher_is_better else -1
        low, high = sorted((turn * self.interval.low, turn * self.interval.high))
        change = signed(turn * figure(self.change))
        told = " ".join(filter(None, [change, ends(Interval(low, high))]))
        told += f", {self.num_items} items"
        if self.interval == (0.0, 0.0):
            told = apart(self.interval, self.num_items)
        return (
            f"{task_name(self.key.task)} {number(self.before)} → {number(self.after)} "
            f"{metric_name(self.key.metric)} ({told})"
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do with one variant of a run.

    Attributes:
        arm: The arm to ship, or None: ship none of these.
        path: Its model folder, as the user would type it; empty when it was not kept.
        headline: Three words or so.
        ship: First sentence: what to ship and what it learnt.
        breaks: Second sentence: what it breaks.
        why: Why this one and not a remedy, or not a plain rate.
        caveat: What these figures can speak of.
    """

    variant: str
    arm: str | None
    seed: int | None
    path: str
    headline: str
    ship: str
    breaks: str
    why: str
    caveat: str

    @property
    def opens_with(self) -> str:
        """The class of transformers that opens the model folder."""
        return auto_class(Path(self.path))


def judge(
    results: Results,
    book: ScoreBook,
    choice: Choice,
    rule: Rule,
    failed: Sequence[FailedGate],
) -> Verdict:
    """The verdict on one variant.

    Args:
        results: The run, cut to the role "report".
        book: Its scores for this variant.
        choice: Made on `select` items.
        rule: The rule it was made by.
        failed: Gates of the recipe that came true.
    """
    if choice.arm is None:
        return _none(book, f"There is nothing to choose from: {choice.reason}.")
    arm, why = _settle(results, book, choice, rule)
    gain_N = standing(book, arm, rule).gain
    if not interval(gain_N).known:
        key = new_task(book)
        reason = (key and book.tasks[key].no_interval) or "no items at some checkpoint"
        return _none(book, f"What `{arm}` learnt of {_new(book)} has no interval: {reason}.")
    if not interval(gain_N).is_above_zero:
        return _none(book, f"Even `{arm}` learnt nothing of {_new(book)} beyond its interval.")
    stopped = [
        gate.message for gate in failed if gate.arm == arm and gate.variant == choice.variant
    ]
    if stopped:
        return _none(
            book, f"`{arm}` would be the one, but a gate of the recipe failed: {stopped[0]}."
        )
    seed = choice.seeds[arm]
    path = results.models.get(Checkpoint(choice.variant, arm, seed, book.num_phases), "")
    return Verdict(
        variant=choice.variant,
        arm=arm,
        seed=seed,
        path=path,
        headline=f"Ship “{arm}”",
        ship=_ship_sentence(book, arm),
        breaks=_breaks_sentence(book, arm),
        why=f"{why} {_not_chosen_by(book, choice)}".rstrip(),
        caveat=" ".join(
            filter(None, (caveat(book), _stopped(book, arm), _one_seed(book, seed, path)))
        ),
    )


def _stopped(book: ScoreBook, arm: str) -> str:
    """What the name of a checkpoint inside the phase means."""
    (found,) = [one for one in book.arms if one.name == arm]
    if not found.part:
        return ""
    return f"`{arm}` is stopped after {found.part} of {_new(book)}: a checkpoint inside the phase."


def _one_seed(book: ScoreBook, seed: int, path: str) -> str:
    if len(book.seeds) == 1 or not path:
        return ""
    return (
        f"The model at the path is that of seed {seed} alone, the best single seed on `select` "
        "items; the figures are not its own."
    )


def _not_chosen_by(book: ScoreBook, choice: Choice) -> str:
    """What had no part in the choice, for want of `select` items."""
    members = [key.task for keys in book.group_keys().values() for key in keys]
    without = [task for task in dict.fromkeys(members) if task not in choice.scored]
    if not without:
        return ""
    told = listed([task_name(task) for task in without])
    return f"No `select` items of {told}: what was lost of them had no part in choosing the arm."


def caveat(book: ScoreBook) -> str:
    """What the figures of a run can speak of, by its number of seeds and of source items."""
    if len(book.seeds) == 1:
        told = (
            "One training run per arm; training noise unknown. Intervals cover the items alone: "
            "this speaks of these runs, not of methods."
        )
    else:
        told = f"Means over {len(book.seeds)} seeds; intervals cover items and seeds" + (
            ", and with two seeds that differ much they are too narrow."
            if len(book.seeds) == 2
            else "."
        )
    return " ".join(filter(None, (told, _few_sources(book))))


def _few_sources(book: ScoreBook) -> str:
    """Which tasks have intervals from so few source items that they are too narrow."""
    few = [
        f"{task_name(key.task)} ({facts.num_sources} source items)"
        for key, facts in book.tasks.items()
        if book.is_shown(key) and facts.has_interval and facts.num_sources < FEW_CLUSTERS
    ]
    if not few:
        return ""
    return (
        f"Intervals of {listed(few)} are too narrow: with so few, those of 95 % cover 89 % (8) "
        f"to 93 % ({FEW_CLUSTERS})."
    )


def moves(book: ScoreBook, arm: str) -> list[Move]:
    """How every task but the newest moved, by its main metric at the fewest shots.

    Taught tasks are held against the arm's best earlier phase, the others against row 0. Left out
    are tasks that cannot show a loss (`TaskFacts.can_show_loss`), and those an arm has no scores
    for.
    """
    found = [_move(book, arm, key) for key in _old_tasks(book) if _can_show_loss(book, key)]
    return [move for move in found if not math.isnan(figure(move.change))]


def _old_tasks(book: ScoreBook) -> list[TaskKey]:
    newest = new_task(book)
    return [key for key in book.tasks if book.is_shown(key) and key != newest]


def _can_show_loss(book: ScoreBook, key: TaskKey) -> bool:
    return book.tasks[key].can_show_loss or book.taught_in(key) is not None


def _move(book: ScoreBook, arm: str, key: TaskKey) -> Move:
    facts, last = book.tasks[key], book.num_phases
    taught = book.taught_in(key)
    rows = range(1, last) if taught and taught < last else (0,)
    since = max(rows, key=lambda row: _order(figure(book.mean(arm, row, key))))
    before_N, after_N = book.mean(arm, since, key), book.mean(arm, last, key)
    turn = 1 if facts.higher_is_better else -1
    return Move(
        key=key,
        before=turn * figure(before_N),
        after=turn * figure(after_N),
        change=after_N - before_N,
        higher_is_better=facts.higher_is_better,
        since=book.phase_name(since),
        num_items=facts.num_items,
    )


def _order(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _settle(results: Results, book: ScoreBook, choice: Choice, rule: Rule) -> tuple[str, str]:
    """The arm to name, given what the report items say of the choice, and why."""
    assert choice.arm is not None
    if choice.remedy is None or choice.plain is None:
        return choice.arm, _alone(book, choice)
    plain, remedy = (
        standing(book, name, rule, with_interval=True) for name in (choice.plain, choice.remedy)
    )
    apart_N = remedy.lost - plain.lost
    losses = (
        f"mean relative loss {number(figure(remedy.lost))} against {number(figure(plain.lost))}, "
        f"difference {signed(figure(apart_N))} {ends(interval(apart_N))}".rstrip()
    )
    if not choice.plain_is_equal and interval(remedy.gain - plain.gain).is_above_zero:
        return (
            choice.remedy,
            f"No plain rate learnt nearly as much as `{choice.remedy}` ({losses}).",
        )
    if interval(remedy.gain - rule.learnt_share * plain.gain).is_below_zero:
        return choice.plain, (
            f"`{choice.remedy}`, the best remedy on `select` items, learnt clearly less than "
            f"{rule.learnt_share:g} of what `{choice.plain}` learnt of {_new(book)}. "
            f"{_plain_answer(results, book, choice.plain)}"
        )
    if interval(apart_N).is_below_zero:
        return choice.remedy, (
            f"At nearly equal learnt {_new(book)}, `{choice.remedy}` lost less than the best plain "
            f"rate, `{choice.plain}`, beyond the paired interval: {losses}."
        )
    if not interval(apart_N).known:
        told = _loss_unknown(book, rule)
        return choice.plain, f"{told} {_plain_answer(results, book, choice.plain)}"
    return choice.plain, (
        f"No remedy beats it at nearly equal learnt {_new(book)}: the best one, `{choice.remedy}`, "
        f"has {losses}. {_plain_answer(results, book, choice.plain)}"
    )


def _alone(book: ScoreBook, choice: Choice) -> str:
    """Why nothing is compared: no remedies, none that learnt enough, or no plain arm."""
    remedies = [arm for arm in book.arms if not arm.is_plain and not arm.is_reference]
    if choice.remedy is None and remedies:
        return f"No remedy learnt enough of {_new(book)} to be compared, by the recipe's rule."
    return "There was nothing else to choose from by the recipe's rule."


def _loss_unknown(book: ScoreBook, rule: Rule) -> str:
    """Why the losses of two arms cannot be compared."""
    without = unranked(book, rule)
    if without:
        told = listed([f"{task_name(k.task)} ({book.tasks[k].no_interval})" for k in without])
        return f"What the arms lost cannot be compared: no interval for {told}."
    able = any(book.tasks[key].can_show_loss for keys in book.group_keys().values() for key in keys)
    if book.num_phases > 1 or able:
        return "What the arms lost cannot be compared: not every arm was scored on every task."
    return (
        "Nothing that was scored tells what any arm lost: no task of a group has headroom, and "
        "no earlier phase was taught."
    )


def _plain_answer(results: Results, book: ScoreBook, plain: str) -> str:
    rates = {
        facts.checkpoint.arm: facts.learning_rate
        for facts in results.training
        if facts.checkpoint.variant == book.variant.name
        and facts.checkpoint.phase_index == book.num_phases
    }
    control = book.control or ""
    if any(arm.name == plain and arm.part for arm in book.arms):
        return "Stopping earlier is the answer."
    if plain in rates and control in rates and rates[plain] < rates[control]:
        return "The lower rate is the answer."
    return "Plain training is the answer."


def _ship_sentence(book: ScoreBook, arm: str) -> str:
    key = new_task(book)
    assert key is not None
    facts, last = book.tasks[key], book.num_phases
    turn = 1 if facts.higher_is_better else -1
    control = book.control_of(arm)
    before = turn * figure(book.mean(control or arm, last - 1, key))
    after = turn * figure(book.mean(arm, last, key))
    moved = f"{metric_name(key.metric)} {number(before)} → {number(after)}, {facts.num_items} items"
    share_N = mean_over_seeds([learnt(book, arm, seed, last, key) for seed in book.seeds], *key)
    if arm == control or math.isnan(figure(share_N)):
        return f"Ship `{arm}`: it learnt {_new(book)} ({moved})."
    share = f"{number(figure(share_N), 2)} {ends(interval(share_N), 2, signs=False)}".rstrip()
    return f"Ship `{arm}`: it learnt {share} of what `{control}` learnt of {_new(book)} ({moved})."


def _breaks_sentence(book: ScoreBook, arm: str) -> str:
    """The tasks that lost beyond their interval; what was not seen to break is said as such."""
    found = moves(book, arm)
    broken = [move.told() for move in found if move.interval.is_below_zero]
    whole = [move for move in found if move.interval.known and not move.interval.is_below_zero]
    if broken:
        sentence = f"It breaks {listed(broken)}" + _others(len(whole)) + "."
    elif whole:
        told = listed([move.told() for move in whole])
        sentence = f"It breaks nothing that these items can show: {told}."
    else:
        sentence = "What it breaks is not known."
    sentence = " ".join([sentence, *collapses(book, arm)])
    unknown = [_without(book, move.key) for move in found if not move.interval.known]
    if unknown:
        sentence += f" No interval for {listed(unknown)}."
    silent = [book.tasks[key] for key in _old_tasks(book) if not _can_show_loss(book, key)]
    mute = [task_name(facts.key.task) for facts in silent if facts.has_direction]
    neutral = [task_name(facts.key.task) for facts in silent if not facts.has_direction]
    if mute:
        sentence += f" Without headroom to show a loss: {listed(mute)}."
    if neutral:
        sentence += f" Neither more nor less is a loss, see their table: {listed(neutral)}."
    return sentence


def _without(book: ScoreBook, key: TaskKey) -> str:
    """A task without an interval, and why when there are items but too few sources."""
    facts = book.tasks[key]
    reason = f" ({facts.no_interval})" if facts.num_sources and not facts.has_interval else ""
    return task_name(key.task) + reason


def _others(num_tasks: int) -> str:
    if num_tasks == 0:
        return ""
    if num_tasks == 1:
        return "; the other task shows no loss beyond its interval"
    return f"; the {num_tasks} other tasks show no loss beyond their intervals"


def _new(book: ScoreBook) -> str:
    return book.variant.phases[-1]


def _none(book: ScoreBook, reason: str) -> Verdict:
    return Verdict(
        variant=book.variant.name,
        arm=None,
        seed=None,
        path="",
        headline="Ship none of these",
        ship=f"Ship none of these. {reason}",
        breaks="",
        why="",
        caveat=caveat(book),
    )
