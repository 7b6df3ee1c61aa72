"""Which arm to ship, by the recipe's rule, read off `select` items alone.

``choose: {learnt: ">= 0.9 of best", then: least change_from_base}`` keeps the arms that learnt
nearly as much of the last phase as the best one did, and takes the one that lost least.
`joint` is a reference and never chosen.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from retain.errors import RecipeError, did_you_mean
from retain.measure import forgetting as formulas
from retain.report.scorebook import MISSING, Floats, ScoreBook, figure, mean_over_seeds
from retain.report.scores import TaskKey, phase_task

BY_CHANGE = "least change_from_base"
BY_FORGETTING = "least forgetting"


@dataclass(frozen=True)
class Rule:
    """The recipe's ``choose``.

    Attributes:
        learnt_share: Part of the best arm's gain that an arm must have made, 0-1.
        then: What decides among those: `BY_CHANGE` (all that the model could do before the last
            phase) or `BY_FORGETTING` (the phases taught earlier alone).
    """

    learnt_share: float = 0.9
    then: str = BY_CHANGE


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What one arm learnt and lost, on the items of one role, mean over seeds; sampled figures."""

    arm: str
    gain: Floats
    lost: Floats


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the rule chose for one variant.

    Attributes:
        arm: The arm, or None when there is nothing to choose; then ``reason`` says why.
        plain: The best arm without methods; None when the recipe has none.
        remedy: The best arm with methods, by the same rule; None when none learnt enough.
        plain_is_equal: Whether ``plain`` learnt enough to be eligible.
        seeds: For each arm the seed that lost least.
        scored: Tasks that had `select` items to choose by.
    """

    variant: str
    arm: str | None = None
    plain: str | None = None
    remedy: str | None = None
    plain_is_equal: bool = False
    seeds: Mapping[str, int] = field(default_factory=dict)
    scored: frozenset[str] = frozenset()
    reason: str = ""


def parse_rule(choose: Mapping[str, object] | None) -> Rule:
    """The rule a recipe asks for; the default one when it asks for none.

    Raises:
        RecipeError: If a key or a value is not of the grammar above.

    >>> parse_rule({"learnt": ">= 0.8 of best"}).learnt_share
    0.8
    """
    rule: dict[str, object] = {"learnt": ">= 0.9 of best", "then": BY_CHANGE}
    for name, value in (choose or {}).items():
        if name not in rule:
            raise RecipeError(f"choose: {did_you_mean('key', str(name), list(rule))}")
        rule[name] = value
    share = re.fullmatch(r">=\s*(\d*\.?\d+)\s+of best", str(rule["learnt"]).strip())
    if share is None or not 0 <= float(share[1]) <= 1:
        raise RecipeError(
            f"choose.learnt: got {rule['learnt']!r}; write '>= X of best', X between 0 and 1"
        )
    then = str(rule["then"])
    if then not in (BY_CHANGE, BY_FORGETTING):
        raise RecipeError(f"choose.then: {did_you_mean('rule', then, [BY_CHANGE, BY_FORGETTING])}")
    return Rule(float(share[1]), then)


def choose(book: ScoreBook, rule: Rule) -> Choice:
    """The arm that the rule takes, and the best arms without and with methods beside it.

    Args:
        book: Scores of one variant, of the role "select".
        rule: From `parse_rule`.
    """
    nothing = partial(Choice, variant=book.variant.name)
    if new_task(book) is None:
        return nothing(reason="no select items of the last phase's own task were scored")
    standings = [standing(book, arm.name, rule) for arm in book.arms if not arm.is_reference]
    measured = [one for one in standings if not math.isnan(figure(one.gain))]
    best = max((figure(one.gain) for one in measured), default=0.0)
    if best <= 0:
        return nothing(reason="no arm learnt anything of the last phase")
    enough = {one.arm for one in measured if figure(one.gain) >= rule.learnt_share * best}
    plain_names = {arm.name for arm in book.arms if arm.is_plain}
    plain = _best([one for one in measured if one.arm in plain_names], enough)
    remedies = enough - plain_names
    remedy = _best([one for one in measured if one.arm in remedies], enough)
    chosen = _best(measured, enough)
    assert chosen is not None  # the arm with the best gain is always eligible
    return Choice(
        variant=book.variant.name,
        arm=chosen,
        plain=plain,
        remedy=remedy,
        plain_is_equal=plain in enough,
        seeds={one.arm: best_seed(book, one.arm, rule) for one in measured},
        scored=frozenset(key.task for key in book.tasks),
    )


def standing(book: ScoreBook, arm: str, rule: Rule, *, with_interval: bool = False) -> Standing:
    """What an arm learnt and lost, on the items the book is made of; see `lost`."""
    return Standing(
        arm=arm,
        gain=mean_over_seeds([gain(book, arm, seed) for seed in book.seeds], "gain"),
        lost=mean_over_seeds(
            [lost(book, arm, seed, rule, with_interval=with_interval) for seed in book.seeds],
            "lost",
        ),
    )


def best_seed(book: ScoreBook, arm: str, rule: Rule) -> int:
    """The seed of an arm that lost least; the first one where nothing tells them apart."""
    losses = [figure(lost(book, arm, seed, rule)) for seed in book.seeds]
    return book.seeds[int(np.argmin(np.nan_to_num(losses, nan=math.inf)))]


def new_task(book: ScoreBook) -> TaskKey | None:
    """The last phase's own task, at the fewest shots scored; None if it was not scored."""
    return book.main_key(phase_task(book.variant.phases[-1]))


def gain(book: ScoreBook, arm: str, seed: int) -> Floats:
    """What an arm learnt of the last phase's own task, in the unit of its score; positive is gain.

    Counted from the control's score before that phase, for every arm; from the arm's own where the
    recipe has no control.
    """
    key = new_task(book)
    if key is None:
        return MISSING
    last = book.num_phases
    before_N = book.score(book.control_of(arm) or arm, seed, last - 1, key)
    return book.score(arm, seed, last, key) - before_N


def lost(
    book: ScoreBook, arm: str, seed: int, rule: Rule, *, with_interval: bool = False
) -> Floats:
    """How much an arm lost of what the model could do before the last phase; positive is loss.

    Each task's loss is relative: groups against the base model, as FG after the last phase, phases
    taught earlier against their best earlier score. They are averaged within a group and unit, then
    over these, so that neither many tasks nor large numbers outweigh others. Tasks that cannot show
    a loss are left out, and so are those without items (metrics of a whole corpus), whose figures
    nothing could back; ``with_interval`` leaves out all without an interval. A number for ranking:
    figures in their own units stand in the tables.

    An arm without earlier rows (`joint`) is measured against the control's.
    """
    parts: list[Floats] = []
    if rule.then == BY_CHANGE:
        for members in book.group_keys().values():
            able = [key for key in members if book.tasks[key].can_show_loss]
            keys = _backed(book, able, with_interval=with_interval)
            if keys:
                now_NT = _last_row(book, arm, seed, keys)
                loss_NPT = formulas.relative_loss(now_NT[:, None], book.base(arm, seed, keys))
                parts += _by_unit(book, keys, loss_NPT[:, 0])
    taught = _backed(book, _taught_earlier(book), with_interval=with_interval)
    if taught:
        best_NT = best_earlier(book, arm, seed, taught)
        now_NT = _last_row(book, arm, seed, taught)
        parts += _by_unit(book, taught, formulas.relative_loss(now_NT[:, None], best_NT)[:, 0])
    if not parts:
        return MISSING
    mean_N: Floats = np.mean(parts, axis=0)
    return mean_N


def unranked(book: ScoreBook, rule: Rule) -> list[TaskKey]:
    """Tasks that could show a loss by the rule but have no interval."""
    groups = book.group_keys().values() if rule.then == BY_CHANGE else ()
    able = [key for members in groups for key in members if book.tasks[key].can_show_loss]
    found = [*able, *_taught_earlier(book)]
    return [key for key in dict.fromkeys(found) if not book.tasks[key].has_interval]


def _taught_earlier(book: ScoreBook) -> list[TaskKey]:
    return [key for key in book.phase_keys() if (book.taught_in(key) or 0) < book.num_phases]


def _backed(book: ScoreBook, keys: list[TaskKey], *, with_interval: bool) -> list[TaskKey]:
    facts = [book.tasks[key] for key in keys]
    return [one.key for one in facts if (one.has_interval if with_interval else one.num_sources)]


def _last_row(book: ScoreBook, arm: str, seed: int, keys: list[TaskKey]) -> Floats:
    return book.matrix(arm, seed, keys, book.num_phases)[:, -1]


def best_earlier(book: ScoreBook, arm: str, seed: int, keys: list[TaskKey]) -> Floats:
    """The best score of each task before the last phase, the control's where the arm has none."""
    last = book.num_phases
    best_NT: Floats = book.matrix(arm, seed, keys, last - 1).max(axis=1)
    control = book.control_of(arm)
    if np.isnan(best_NT[0]).any() and control:
        best_NT = book.matrix(control, seed, keys, last - 1).max(axis=1)
    return best_NT


def _by_unit(book: ScoreBook, keys: list[TaskKey], loss_NT: Floats) -> list[Floats]:
    units = [book.tasks[key].oriented_unit for key in keys]
    return list(formulas.mean_of_like_units(loss_NT, units).values())


def _best(standings: list[Standing], enough: set[str]) -> str | None:
    """Among those that learnt enough, the one that lost least; else the one that learnt most."""
    eligible = [one for one in standings if one.arm in enough]
    told_apart = [one for one in eligible if not math.isnan(figure(one.lost))]
    if told_apart:
        return min(told_apart, key=lambda one: figure(one.lost)).arm
    found = max(eligible or standings, key=lambda one: figure(one.gain), default=None)
    return None if found is None else found.arm
