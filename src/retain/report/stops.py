"""Checkpoints of inside the last phase, as arms that stopped there.

An arm that stops after a quarter of the last phase is an arm like any other: it has the scores of
its whole self before that phase, and its own after it. As such it can be chosen, and stands on the
learnt-against-forgotten plane.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TypeVar

from retain.report.gates import FailedGate, Gate, failed_gates
from retain.report.results import Arm, Results
from retain.report.scorebook import ScoreBook
from retain.report.scores import InsideScore, ItemKey, ScoreRow, stop_name
from retain.report.tables import measure_rows

T = TypeVar("T")


def with_stops(results: Results) -> Results:
    """The same run with an arm more for every checkpoint inside the last phase.

    They come after the arms of the recipe, in the order of arms and of the phase.

    >>> from retain.report.results import Results
    >>> bare = Results(name="", recipe={}, run_folder="", variants=(), arms=(), seeds=(), groups={},
    ...                scores=())
    >>> with_stops(bare) is bare
    True
    """
    last = {variant.name: len(variant.phases) for variant in results.variants}
    inside = [row for row in results.inside if row.phase_index == last[row.variant]]
    if not inside:
        return results
    parts = list(dict.fromkeys(row.part for row in inside))
    stops = tuple(
        replace(arm, name=stop_name(arm.name, part), base_arm=arm.base_arm or arm.name, part=part)
        for arm in results.arms
        for part in parts
    )
    earlier = [(row, part) for row in results.scores for part in _parts(row, last, inside)]
    copied = [replace(row, arm=stop_name(row.arm, part)) for row, part in earlier]
    items, given = dict(results.items), dict(results.given)
    for row, part in earlier:
        _copy(items, ItemKey(row.checkpoint, row.key), stop_name(row.arm, part))
        _copy(given, ItemKey(row.checkpoint, row.key), stop_name(row.arm, part))
    items |= {key: one for key, one in results.inside_items.items() if _is_last(key, last)}
    own = [_as_row(row) for row in inside]
    variants = tuple(
        replace(
            one, arms=one.arms + tuple(stop_name(arm, part) for arm in one.arms for part in parts)
        )
        for one in results.variants
    )
    return replace(
        results,
        variants=variants,
        arms=results.arms + stops,
        scores=(*results.scores, *copied, *own),
        items=items,
        given=given,
    )


def gates_of_stop(gates: Sequence[Gate], book: ScoreBook, arm: str) -> list[FailedGate]:
    """The conditions of ``fail_if`` that come true for an arm that stopped inside the phase.

    Args:
        gates: The recipe's; one that names the arm by its name in the recipe holds for the stop.
        book: With the stop among its arms.
        arm: Its name.
    """
    rows = measure_rows(book, (arm,))
    (stop,) = [one for one in book.arms if one.name == arm]
    meant = [gate for gate in gates if _holds_for(gate, stop)]
    return failed_gates([{**gate, "arms": (arm,)} for gate in meant], [book], rows)


def _holds_for(gate: Gate, stop: Arm) -> bool:
    named = gate.get("arms")
    if not isinstance(named, list | tuple):
        return not stop.is_reference
    return any(stop.name == name or stop.name.startswith(f"{name}@") for name in named)


def _parts(row: ScoreRow, last: Mapping[str, int], inside: Sequence[InsideScore]) -> Iterator[str]:
    """The stops that share a row: those of its arm and seed, where it is before the last phase."""
    if row.phase_index < last[row.variant]:
        where = (row.variant, row.arm, row.seed)
        yield from dict.fromkeys(
            one.part for one in inside if (one.variant, one.arm, one.seed) == where
        )


def _copy(kept: dict[ItemKey, T], key: ItemKey, arm: str) -> None:
    if key in kept:
        kept[key._replace(checkpoint=key.checkpoint._replace(arm=arm))] = kept[key]


def _is_last(key: ItemKey, last: Mapping[str, int]) -> bool:
    return key.checkpoint.phase_index == last[key.checkpoint.variant]


def _as_row(row: InsideScore) -> ScoreRow:
    values = {column.name: getattr(row, column.name) for column in fields(ScoreRow)}
    return ScoreRow(**values | {"arm": stop_name(row.arm, row.part)})
