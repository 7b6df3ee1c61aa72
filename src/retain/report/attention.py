"""Attention between dependent words, base model against adapted: maps for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from retain.report.analysis import Analysis
from retain.report.facts import ProbeFacts
from retain.report.head_map import HeadMap, Map, head_map
from retain.report.probes import LEVEL, beyond_chance, of_probe
from retain.report.results import Arm
from retain.report.scorebook import ScoreBook

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class HeadsPart:
    """One model's maps.

    Attributes:
        arm: None for the base model.
        drawings: Caption and drawing: the base model's own map, or an arm's and its change.
        counts: Language, heads beyond chance that give the dependency more attention than its
            control, those that give it less, all beyond chance of the shuffled control, sentences.
    """

    arm: Arm | None
    place: int
    phase: str
    drawings: Sequence[tuple[str, Markup]]
    counts: Sequence[tuple[str, int, int, int, int]]


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The maps of one variant.

    Attributes:
        sink_token: What sentences begin with.
        sink: Mean attention of the base model's heads to it; None where the base was not probed.
    """

    parts: Sequence[HeadsPart]
    sink_token: str
    sink: float
    note: str


def heads(analysis: Analysis, book: ScoreBook, identity: str) -> Heads | None:
    """The base model and every arm after its last phase; of several seeds the first is told.

    Args:
        analysis: The run.
        book: Of one variant.
        identity: Unique on the page, for accessible names.
    """
    found = of_probe(analysis.results, book, "attention")
    rows = {(one.checkpoint.arm, one.checkpoint.phase_index): one for one in found}
    first = next((one for one in found if one.checkpoint.phase_index == 0), None)
    if first is None:
        return None
    last = [
        (arm, place, rows[arm.name, book.num_phases])
        for place, arm in book.placed
        if (arm.name, book.num_phases) in rows
    ]
    maps = [_apart(one.content) for one in (first, *(one for _, _, one in last))]
    scale = max((abs(v) for one in maps for row in one for v in row if v is not None), default=0.0)
    before = HeadMap("Base model", maps[0], _marked(first.content), scale)
    parts = [
        HeadsPart(
            arm=None,
            place=0,
            phase=first.phase,
            drawings=[("dependency less control", head_map(before, f"{identity}-base"))],
            counts=_counts(first),
        )
    ]
    for arm, place, one in last:
        parts.append(_arm_part(arm, place, one, before, identity))
    sink = [value for row in first.content["sink"] for value in row]
    return Heads(
        parts=parts,
        sink_token=first.content["sink_token"],
        sink=sum(sink) / len(sink),
        note=first.content["note"],
    )


def _arm_part(arm: Arm, place: int, found: ProbeFacts, before: HeadMap, identity: str) -> HeadsPart:
    values = _apart(found.content)
    marked = _marked(found.content)
    none_marked = [[False] * len(row) for row in values]
    now = HeadMap(f"{arm.name} after {found.phase}", values, marked, before.scale)
    change = HeadMap(f"{arm.name} less base", _less(values, before.values), none_marked,
                     before.scale)  # fmt: skip
    return HeadsPart(
        arm=arm,
        place=place,
        phase=found.phase,
        drawings=[
            ("dependency less control", head_map(now, f"{identity}-{place}-now")),
            ("change from base", head_map(change, f"{identity}-{place}-change")),
        ],
        counts=_counts(found),
    )


def _apart(content: Mapping[str, Any]) -> Map:
    told = content["maps"][ALL]
    return _less(told["dependency"], told["control"])


def _less(one: Map, other: Map) -> Map:
    return [
        [None if a is None or b is None else a - b for a, b in zip(row, its, strict=True)]
        for row, its in zip(one, other, strict=True)
    ]


def _marked(content: Mapping[str, Any]) -> list[list[bool]]:
    return [[p is not None and p <= LEVEL for p in row] for row in content["maps"][ALL]["p"]]


def _counts(found: ProbeFacts) -> list[tuple[str, int, int, int, int]]:
    return [
        (language, *beyond_chance(told), told["shuffled"]["num_heads"], told["num_sentences"])
        for language, told in found.content["maps"].items()
    ]
