"""What each score is made of, read off the columns that are kept of its items.

Shapes: I items of a task, in the order of its columns; K figures of an item.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retain.measure.bias import icat
from retain.measure.item_scores import Formula, ItemFigures, means_of_sources

Floats = NDArray[np.float64]
Column = Callable[[str], Sequence[Any] | None]
"""From a column's name to its values, one an item; None where there is no such column."""

PREFERS_STEREOTYPE, PREFERS_SENSE = "prefers_stereotype", "prefers_sense"
"""What StereoSet's items keep: 0 or 1, and 0, 0.5 or 1."""
ICAT, LMS, SS = "icat", "lms", "ss"


class ItemValues(NamedTuple):
    """What one score is made of, item by item.

    Attributes:
        values: Above the line, (I,), or (K, I) with a formula; NaN for an item that has no part in
            the score.
        weights: Below the line, (I,); None means 1 each.
        by_source: Whether every source item weighs alike, however many items it has.
        formula: See `retain.measure.item_scores.ItemFigures`.
    """

    values: Floats
    weights: Floats | None = None
    by_source: bool = False
    formula: Formula | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which items have a part in the score."""
        return np.asarray(~np.isnan(np.atleast_2d(self.values)).any(axis=0))

    def at(self, chosen_I: NDArray[np.bool_]) -> "ItemValues":
        """Of the chosen items alone."""
        weights_I = None if self.weights is None else self.weights[chosen_I]
        return self._replace(values=self.values[..., chosen_I], weights=weights_I)

    def figures(self, sources_I: NDArray[np.str_]) -> ItemFigures:
        """The same once the items are chosen, none of them NaN."""
        if self.by_source:
            return means_of_sources(self.values, sources_I, self.formula)
        return ItemFigures(self.values, self.weights, self.formula)


def item_values(score: Mapping[str, Any], column: Column) -> ItemValues | None:
    """What a score is made of; None for a number of the whole corpus alone.

    Args:
        score: Its ``metric`` and ``aggregation``, as in ``scores.json``.
        column: Of ``items.parquet``.
    """
    metric = str(score["metric"])
    match score["aggregation"]:
        case "ratio":
            return ItemValues(_numbers(column("nats")) / log(2), _numbers(column("num_bytes")))
        case "mean":
            found = column(f"metric:{metric}")
            return None if found is None else ItemValues(_numbers(found))
        case "by_source":
            return _of_stereotypes(metric, column)
        case _:
            return None


def _of_stereotypes(metric: str, column: Column) -> ItemValues:
    """StereoSet's scores, in percent; a source item is all that is said of one target term."""
    has_it_I = np.array([metric in json.loads(raw) for raw in column("raw") or ()])
    sense_I, stereotype_I = (
        np.where(has_it_I, 100 * _numbers(column(f"metric:{name}")), np.nan)
        for name in (PREFERS_SENSE, PREFERS_STEREOTYPE)
    )
    if metric == ICAT:
        return ItemValues(np.stack([sense_I, stereotype_I]), by_source=True, formula=icat)
    return ItemValues(sense_I if metric == LMS else stereotype_I, by_source=True)


def _numbers(found: Sequence[Any] | None) -> Floats:
    return np.asarray([np.nan if one is None else one for one in found or ()], dtype=np.float64)
