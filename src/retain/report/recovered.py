"""Whether a brief retune brings back what a task lost: rows of measures.csv, and a table.

Shapes: N = the figure itself and its resamples, all five scores of a task under the same ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retain.errors import DataError
from retain.measure.forgetting import oriented
from retain.measure.item_scores import sampled_scores
from retain.measure.recovery import Recovery, Scores, recovery
from retain.measure.statistics import generator
from retain.report.by_seed import Figures, Found, Kind, Place, figure_rows, over_seeds
from retain.report.facts import Retuned
from retain.report.results import Arm, Results
from retain.report.scorebook import Floats, ScoreBook, figure, interval, without_resamples
from retain.report.scores import Checkpoint, ItemKey, Items, TaskKey
from retain.report.tables import MeasureRow
from retain.report.text import ends, metric_name, number, signed, task_name

LOSS, RETURNED, TAUGHT = "recovery_loss", "recovery_returned", "recovery_taught"
SHARE, PLACEBO_SHARE = "recovery_share", "recovery_placebo_share"
BASE, JUST_LEARNT = "base", "just_learnt"
Retunes = Mapping[str, Retuned]
"""What was retuned to its score."""


def recovered_figures(results: Results) -> Figures:
    """Every figure of every arm and task whose recovery was tried, in a fixed order."""
    tried: dict[tuple[Checkpoint, str], dict[str, Retuned]] = {}
    for one in results.retuned:
        tried.setdefault((one.checkpoint, one.score.task), {})[one.what] = one
    found: Figures = {}
    for (where, task), retunes in tried.items():
        place = Place(*where[:2], where.phase_index, retunes["retuned"].phase, task)
        for kind, its in _figures(results, where, retunes).items():
            found.setdefault((place, kind), {})[where.seed] = its
    return found


def recovered_rows(results: Results) -> list[MeasureRow]:
    """The figures for measures.csv."""
    return figure_rows(recovered_figures(results))


def _figures(results: Results, where: Checkpoint, retunes: Retunes) -> dict[Kind, Found]:
    first = retunes["retuned"]
    scores, num_items = _scores(results, where, retunes)
    found: Recovery = recovery(scores)
    unit = first.score.unit if first.score.higher_is_better else f"-{first.score.unit}"
    versus = JUST_LEARNT if first.reference_index else BASE
    sampled = {
        (LOSS, unit): scores.base - scores.last,
        (RETURNED, unit): found.returned,
        (TAUGHT, unit): scores.base_retuned - scores.base,
        (SHARE, "share_of_loss"): found.share,
        (PLACEBO_SHARE, "share_of_loss"): found.placebo_share,
    }
    metric = first.score.metric
    return {
        Kind(name, metric, its_unit, versus): Found(one, num_items)
        for (name, its_unit), one in sampled.items()
    }


def _scores(results: Results, where: Checkpoint, retunes: Retunes) -> tuple[Scores, int]:
    """Five oriented scores under the same resamples, and the number of items behind them."""
    first = retunes["retuned"]
    key = first.score.key
    reference = where._replace(phase_index=first.reference_index)
    order = ("retuned", "base_retuned", "placebo")
    rows = {row.checkpoint: row for row in results.scores if row.key == key}
    if missing := [place for place in (reference, where) if place not in rows]:
        raise DataError(f"{key.task}: no score at {missing[0]}, which its recovery is counted from")
    values = [rows[reference].value, rows[where].value, *(retunes[w].score.value for w in order)]
    items = [results.items.get(ItemKey(place, key)) for place in (reference, where)]
    items += [retunes[what].items for what in order]
    known = [one for one in items if one is not None]
    sign = float(oriented(np.array(1.0), first.score.higher_is_better))
    if len(known) < len(items):
        return Scores(*(without_resamples(sign * value) for value in values)), first.score.num_items
    return Scores(*(sign * sampled for sampled in _resampled(key, known))), len(known[0].hashes)


def _resampled(key: TaskKey, listed: Sequence[Items]) -> Iterator[Floats]:
    first = listed[0]
    if any(not np.array_equal(one.hashes, first.hashes) for one in listed):
        raise DataError(
            f"{key.task}: a retuned model was scored on other items than the one it came from; "
            "run again with one `limit`"
        )
    figures = [one.figures for one in listed]
    yield from sampled_scores(figures, generator("recovery", *key), clusters_I=first.groups)


# ---------------------------------------------------------------- for the page


@dataclass(frozen=True, kw_only=True)
class RecoveryLine:
    """One arm on one task; shares are empty where the loss is not beyond its interval.

    Attributes:
        since: What the loss is counted from.
        tone: ``gain-1`` or ``loss-1`` where what returned is beyond its interval.
    """

    arm: Arm
    place: int
    task: str
    metric: str
    since: str
    lost: tuple[str, str]
    returned: tuple[str, str]
    share: tuple[str, str]
    placebo_share: tuple[str, str]
    taught: tuple[str, str]
    num_items: int
    max_steps: int
    tone: str


def recovery_lines(results: Results, book: ScoreBook) -> list[RecoveryLine]:
    """The table of one variant, task by task; [] where no recovery was tried."""
    mine = {
        (place, kind): over_seeds(place, kind, by_seed)
        for (place, kind), by_seed in recovered_figures(results).items()
        if place.variant == book.variant.name
    }
    steps = {one.score.task: one.max_steps for one in results.retuned}
    lines = []
    for task in dict.fromkeys(place.task for place, _ in mine):
        for number_of_arm, arm in book.placed:
            its = {
                kind.measure: (kind, one)
                for (place, kind), one in mine.items()
                if (place.task, place.arm) == (task, arm.name)
            }
            if its:
                lines.append(_line(arm, number_of_arm, task, its, steps[task]))
    return lines


def _line(
    arm: Arm, place: int, task: str, its: Mapping[str, tuple[Kind, Found]], max_steps: int
) -> RecoveryLine:
    kind, lost = its[LOSS]
    returned = interval(its[RETURNED][1].sampled)

    def told(name: str) -> tuple[str, str]:
        sampled_N = its[name][1].sampled
        if name in (SHARE, PLACEBO_SHARE):
            return number(figure(sampled_N), 2), ends(interval(sampled_N), 2, signs=False)
        return signed(figure(sampled_N)), ends(interval(sampled_N))

    return RecoveryLine(
        arm=arm,
        place=place,
        task=task_name(task),
        metric=metric_name(kind.metric),
        since="the base model" if kind.versus == BASE else "right after its phase",
        lost=told(LOSS),
        returned=told(RETURNED),
        share=told(SHARE),
        placebo_share=told(PLACEBO_SHARE),
        taught=told(TAUGHT),
        num_items=lost.num_items,
        max_steps=max_steps,
        tone="gain-1" if returned.is_above_zero else "loss-1" if returned.is_below_zero else "",
    )
