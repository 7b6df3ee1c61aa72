"""What a judge found: rows of measures.csv, and the tables of the page.

Shapes: N = the figure itself and its resamples; R = figures of one checkpoint, all under the same
resampled items; I = items.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retain.measure.judge import order_agreement, position_bias, preference
from retain.measure.statistics import (
    MIN_CLUSTERS,
    Interval,
    generator,
    num_clusters,
    ratio_of_sums,
    resampled_scores,
)
from retain.report.by_seed import Figures, Found, Kind, Place, figure_rows, over_seeds
from retain.report.facts import Judged, Said
from retain.report.results import Arm, Results
from retain.report.scorebook import Floats, ScoreBook, figure, interval
from retain.report.scores import Checkpoint
from retain.report.tables import MeasureRow
from retain.report.text import ends, number, signed, task_name

METRIC = "judge"
PREFERENCE, AGREEMENT, BIAS = "judge_preference", "judge_order_agreement", "judge_position_bias"
BETTER, WORSE = "judge_better", "judge_worse"
POINTS, CHANGE = "judge_points", "judge_points_change"
NOTHING = number(None)
MOST_WORSE = 5


def judged_figures(results: Results) -> Figures:
    """Every figure of every checkpoint that was judged, in a fixed order."""
    found: Figures = {}
    rated = {(one.checkpoint, one.task): one for one in results.judged if one.mode == "rubric"}
    for one in results.judged:
        if one.mode == "pairwise":
            figures = _of_pairs(one)
        else:
            base = rated[one.checkpoint._replace(phase_index=0), one.task]
            figures = _of_points(one, base)
        where = one.checkpoint
        place = Place(where.variant, where.arm, where.phase_index, one.phase, one.task)
        for kind, its in figures.items():
            found.setdefault((place, kind), {})[where.seed] = its
    return found


def judged_rows(results: Results) -> list[MeasureRow]:
    """The figures for measures.csv."""
    return figure_rows(judged_figures(results))


# ---------------------------------------------------------------- from verdicts to figures


def _of_pairs(one: Judged) -> dict[Kind, Found]:
    hashes = sorted(one.found)
    first, second, alike = (_values(one, hashes, key) for key in ("first", "second", "alike"))
    liked = preference(first, second)
    every, asked = np.ones_like(liked), 1 - alike
    figures = {
        Kind(PREFERENCE, METRIC, "fraction", "base"): (liked, every),
        Kind(BETTER, METRIC, "fraction_of_items", "base"): ((liked > 0.5) * every, every),
        Kind(WORSE, METRIC, "fraction_of_items", "base"): ((liked < 0.5) * every, every),
        Kind(AGREEMENT, METRIC, "fraction_of_items", ""): (
            order_agreement(first, second) * asked,
            asked,
        ),
        Kind(BIAS, METRIC, "difference_of_fractions", ""): (
            position_bias(first, second) * asked,
            asked,
        ),
    }
    if not asked.any():  # every answer is the base model's own, so the judge was not asked
        figures = {k: v for k, v in figures.items() if k.measure not in (AGREEMENT, BIAS)}
    return _sampled(one, hashes, figures)


def _of_points(one: Judged, base: Judged) -> dict[Kind, Found]:
    hashes = sorted(one.found)
    names = list(next(iter(one.found.values())).values)
    every = np.ones(len(hashes))
    found = _sampled(
        one,
        hashes,
        {
            Kind(POINTS, name, "points_of_5", ""): (_values(one, hashes, name), every)
            for name in names
        },
    )
    shared = sorted(set(hashes) & set(base.found))
    if not one.checkpoint.phase_index or not shared:
        return found
    every = np.ones(len(shared))
    changes = {
        Kind(CHANGE, name, "points_of_5", "base"): (
            _values(one, shared, name) - _values(base, shared, name),
            every,
        )
        for name in names
    }
    return found | _sampled(one, shared, changes)


def _values(one: Judged, hashes: Sequence[str], name: str) -> Floats:
    return np.array([one.found[item].values[name] for item in hashes], dtype=np.float64)


def _sampled(
    one: Judged, hashes: Sequence[str], figures: Mapping[Kind, tuple[Floats, Floats]]
) -> dict[Kind, Found]:
    """Ratios of sums with their resamples; no resamples of few source items, as in `ScoreBook`."""
    values_RI = np.stack([above for above, _ in figures.values()])
    weights_RI = np.stack([below for _, below in figures.values()])
    groups_I = np.array([one.found[item].source_item for item in hashes])
    draws_RB = resampled_scores(
        values_RI, generator("judge", one.task), weights_RI=weights_RI, clusters_I=groups_I
    )
    if num_clusters(groups_I) < MIN_CLUSTERS:
        draws_RB[:] = np.nan
    return {
        kind: Found(np.concatenate([[ratio_of_sums(above, below)], draws_B]), int(below.sum()))
        for (kind, (above, below)), draws_B in zip(figures.items(), draws_RB, strict=True)
    }


# ---------------------------------------------------------------- for the page


@dataclass(frozen=True, kw_only=True)
class PairLine:
    """One arm on one task: how its answers did beside the base model's.

    Attributes:
        tone: ``gain-1`` or ``loss-1`` where the preference is beyond its interval.
    """

    arm: Arm
    place: int
    task: str
    preferred: str
    sure: str
    better: str
    worse: str
    agreement: str
    bias: str
    bias_sure: str
    num_items: int
    tone: str


@dataclass(frozen=True, kw_only=True)
class PointLine:
    """Points for one criterion of one task; cells are value, change and interval, base first."""

    task: str
    criterion: str
    num_items: int
    cells: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Worse:
    """An answer that the judge found worse than the base model's; all texts are hostile."""

    task: str
    said: Said


@dataclass(frozen=True, kw_only=True)
class JudgePart:
    """All that is said of one variant after the last phase.

    Attributes:
        judge: Its name.
        habit: A sentence on its preference for a place; empty where it shows none.
        left_out: A sentence on answers without a verdict; empty where there are none.
        worse: Arms, their places and the answers found worst beside the base model's, first seed.
    """

    judge: str
    pairs: tuple[PairLine, ...]
    points: tuple[PointLine, ...]
    arms: tuple[tuple[Arm, int], ...]
    habit: str
    left_out: str
    worse: tuple[tuple[Arm, int, tuple[Worse, ...]], ...]


def judge_part(results: Results, book: ScoreBook) -> JudgePart | None:
    """The tables of one variant; None where nothing was judged."""
    here = [one for one in results.judged if one.checkpoint.variant == book.variant.name]
    if not here:
        return None
    known = {
        (place, kind): over_seeds(place, kind, by_seed)
        for (place, kind), by_seed in judged_figures(results).items()
        if place.variant == book.variant.name
    }
    tasks = list(dict.fromkeys(one.task for one in here))
    pairs = tuple(_pair_lines(book, known, tasks))
    num_unread = sum(one.num_unreadable for one in here)
    num_cut = sum(one.num_cut for one in here)
    told = []
    if num_unread:
        told.append(f"{num_unread} answers have no verdict that could be read.")
    if num_cut:
        told.append(f"{num_cut} are left out because their prompts are too long to be kept.")
    return JudgePart(
        judge=here[0].judge,
        pairs=pairs,
        points=tuple(_point_lines(book, known, tasks)),
        arms=tuple((arm, place) for place, arm in book.placed),
        habit=_habit(known),
        left_out=" ".join(told),
        worse=tuple(
            (arm, place, found)
            for place, arm in book.placed
            if (found := tuple(_worse(here, book, arm.name)))
        ),
    )


def _worse(judged: Sequence[Judged], book: ScoreBook, arm: str) -> Iterator[Worse]:
    """The answers of one arm that lost in both orders, at most `MOST_WORSE`."""
    end = Checkpoint(book.variant.name, arm, book.seeds[0], book.num_phases)
    listed = [one for one in judged if one.checkpoint == end and one.mode == "pairwise"]
    lost = [
        Worse(task=task_name(one.task), said=one.said[item])
        for one in listed
        for item, verdicts in sorted(one.found.items())
        if (verdicts.values["first"], verdicts.values["second"]) == (-1, 1) and item in one.said
    ]
    yield from lost[:MOST_WORSE]


Known = Mapping[tuple[Place, Kind], Found]


def _find(known: Known, where: tuple[str, int, str], measure: str, metric: str) -> Found | None:
    for (place, kind), its in known.items():
        if (place.arm, place.phase_index, place.task) == where and kind[:2] == (measure, metric):
            return its
    return None


def _pair_lines(book: ScoreBook, known: Known, tasks: Sequence[str]) -> Iterator[PairLine]:
    for task in tasks:
        for place, arm in book.placed:
            where = (arm.name, book.num_phases, task)
            its = {
                name: _find(known, where, name, METRIC)
                for name in (PREFERENCE, BETTER, WORSE, AGREEMENT, BIAS)
            }
            liked, bias = its[PREFERENCE], its[BIAS]
            if liked is None:
                continue
            apart = interval(liked.sampled - 0.5)
            yield PairLine(
                arm=arm,
                place=place,
                task=task_name(task),
                preferred=number(figure(liked.sampled)),
                sure=ends(interval(liked.sampled), signs=False),
                better=_told(its[BETTER]),
                worse=_told(its[WORSE]),
                agreement=_told(its[AGREEMENT]),
                bias=NOTHING if bias is None else signed(figure(bias.sampled)),
                bias_sure="" if bias is None else ends(interval(bias.sampled)),
                num_items=liked.num_items,
                tone=_tone(apart),
            )


def _point_lines(book: ScoreBook, known: Known, tasks: Sequence[str]) -> Iterator[PointLine]:
    for task in tasks:
        names = {k.metric: None for place, k in known if place.task == task and k.measure == POINTS}
        for name in names:
            base = _find(known, (book.arms[0].name, 0, task), POINTS, name)
            if base is None:
                continue
            cells = [(number(figure(base.sampled), 2), "", "")]
            for arm in book.arms:
                where = (arm.name, book.num_phases, task)
                now, change = (_find(known, where, one, name) for one in (POINTS, CHANGE))
                if now is None or change is None:
                    cells.append((NOTHING, "", ""))
                    continue
                sure = ends(interval(change.sampled), 2)
                apart = signed(figure(change.sampled), 2)
                cells.append((number(figure(now.sampled), 2), apart, sure))
            yield PointLine(
                task=task_name(task),
                criterion=name,
                num_items=base.num_items,
                cells=tuple(cells),
            )


def _habit(known: Known) -> str:
    """Whether the judge takes a place, over all that it compared."""
    biases = [its for (_, kind), its in known.items() if kind.measure == BIAS]
    strong = [its for its in biases if _tone(interval(its.sampled))]
    if not strong:
        return ""
    mean = float(np.mean([figure(its.sampled) for its in biases]))
    place = "first" if mean > 0 else "second"
    return (
        f"This judge takes what it is shown {place} more often than the other, beyond its "
        f"interval in {len(strong)} of {len(biases)} comparisons: both orders are averaged, but a "
        "judge that goes by the place says little of the answers."
    )


def _tone(sure: Interval) -> str:
    if sure.is_above_zero:
        return "gain-1"
    return "loss-1" if sure.is_below_zero else ""


def _told(its: Found | None) -> str:
    return NOTHING if its is None else number(figure(its.sampled))
