"""Figures that are found seed by seed, beside the scores: from their resamples to measures.csv.

Shapes: N = the figure itself and its resamples.
"""

from collections.abc import Mapping
from typing import NamedTuple

from retain.report.scorebook import Floats, figure, interval, mean_over_seeds
from retain.report.tables import MeasureRow


class Place(NamedTuple):
    """Where a figure belongs, whatever the seed."""

    variant: str
    arm: str
    phase_index: int
    phase: str
    task: str


class Kind(NamedTuple):
    """What a figure is: four columns of measures.csv."""

    measure: str
    metric: str
    unit: str
    versus: str


class Found(NamedTuple):
    """A figure with its resamples."""

    sampled: Floats
    num_items: int


Figures = dict[tuple[Place, Kind], dict[int, Found]]
"""Each figure by seed."""


def over_seeds(place: Place, kind: Kind, by_seed: Mapping[int, Found]) -> Found:
    """The mean over seeds; the items are those of the seed with the fewest."""
    sampled = [its.sampled for its in by_seed.values()]
    smallest = min(its.num_items for its in by_seed.values())
    return Found(mean_over_seeds(sampled, kind.measure, kind.metric, place.task), smallest)


def figure_rows(figures: Figures) -> list[MeasureRow]:
    """Rows for measures.csv: each seed's figure, then with several seeds their mean."""
    rows = []
    for (place, kind), by_seed in figures.items():
        rows += [_row(place, kind, seed, its, 1) for seed, its in by_seed.items()]
        if len(by_seed) > 1:
            rows.append(_row(place, kind, None, over_seeds(place, kind, by_seed), len(by_seed)))
    return rows


def _row(place: Place, kind: Kind, seed: int | None, its: Found, num_seeds: int) -> MeasureRow:
    sure = interval(its.sampled)
    return MeasureRow(
        variant=place.variant,
        arm=place.arm,
        seed=seed,
        phase_index=place.phase_index,
        phase=place.phase,
        group="",
        task=place.task,
        metric=kind.metric,
        num_fewshot=0,
        measure=kind.measure,
        value=figure(its.sampled),
        unit=kind.unit,
        ci_low=sure.low,
        ci_high=sure.high,
        num_items=its.num_items,
        num_seeds=num_seeds,
        versus=kind.versus,
    )
