"""``fail_if``: conditions of the recipe that make a run end with exit code 2.

``{measure: change_from_base, task: embedded_boolq, arms: [replay], below: -0.02}``; a ``group`` may
stand for the task, ``above`` for ``below``, and ``phase``, ``metric``, ``num_fewshot``, ``variant``
narrow it. Without them it is the last phase, the main metric, the fewest shots, every variant.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retain.errors import RecipeError, did_you_mean
from retain.report.measured import KNOWN
from retain.report.scorebook import ScoreBook
from retain.report.tables import MeasureRow, cell

KEYS = (
    *("measure", "task", "group", "arms", "below", "above"),
    *("phase", "metric", "num_fewshot", "variant"),
)


@dataclass(frozen=True, kw_only=True)
class FailedGate:
    """A condition that came true, for one arm.

    Attributes:
        value: The figure; NaN when it was not measured, which fails as well.
        message: One line for the terminal and the page.
    """

    arm: str
    variant: str
    value: float
    message: str


def check_gate(gate: Mapping[str, object], place: str) -> None:
    """Refuse a condition that could never be evaluated.

    Raises:
        RecipeError: If a key or the measure is unknown, or task/group or below/above is not one.
    """
    for name in gate:
        if name not in KEYS:
            raise RecipeError(f"{place}: {did_you_mean('key', name, list(KEYS))}")
    measure = str(gate.get("measure"))
    if measure not in KNOWN:
        raise RecipeError(f"{place}: {did_you_mean('measure', measure, list(KNOWN))}")
    for pair in (("task", "group"), ("below", "above")):
        if sum(name in gate for name in pair) != 1:
            raise RecipeError(f"{place}: needs either `{pair[0]}` or `{pair[1]}`")


def failed_gates(
    gates: Sequence[Mapping[str, object]], books: Sequence[ScoreBook], rows: Sequence[MeasureRow]
) -> list[FailedGate]:
    """The conditions that came true, on `report` items.

    Args:
        gates: The recipe's ``fail_if``.
        books: One per variant, of the role "report".
        rows: Measures of all of them. With several seeds the mean over seeds is what counts.

    Returns:
        One entry per arm and figure. A figure that was not measured fails: a gate that cannot be
        read must not let a model pass.

    Raises:
        RecipeError: See `check_gate`; or if an arm is unknown.
    """
    failed: list[FailedGate] = []
    for number, gate in enumerate(gates, start=1):
        check_gate(gate, f"fail_if, entry {number}")
        for book in books:
            if gate.get("variant", book.variant.name) == book.variant.name:
                failed += _failed(gate, book, rows)
    return failed


def _failed(
    gate: Mapping[str, object], book: ScoreBook, rows: Sequence[MeasureRow]
) -> list[FailedGate]:
    known = [arm.name for arm in book.arms]
    named = gate.get("arms")
    arms = [str(name) for name in named] if isinstance(named, Sequence) else _candidates(book)
    failed = []
    for arm in arms:
        if arm not in known:
            raise RecipeError(f"fail_if: {did_you_mean('arm', arm, known)}")
        found = [row for row in rows if row.arm == arm and _is_meant(row, gate, book)]
        if not found:
            failed.append(_failure(gate, book, arm, math.nan))
        failed += [_failure(gate, book, arm, row.value) for row in found if _is_true(gate, row)]
    return failed


def _candidates(book: ScoreBook) -> list[str]:
    return [arm.name for arm in book.arms if not arm.is_reference]


def _is_meant(row: MeasureRow, gate: Mapping[str, object], book: ScoreBook) -> bool:
    wanted_phase = gate.get("phase", book.variant.phases[-1])
    at_row_0 = gate["measure"] in ("headroom", "chance", "majority")
    return (
        row.variant == book.variant.name
        and row.measure == gate["measure"]
        and (row.phase == wanted_phase or at_row_0)
        and (row.seed is None) == (len(book.seeds) > 1)
        and row.num_fewshot == gate.get("num_fewshot", book.shots[0])
        and _is_subject(row, gate, book)
    )


def _is_subject(row: MeasureRow, gate: Mapping[str, object], book: ScoreBook) -> bool:
    """Whether the row is of the task or group that the gate names."""
    if "group" in gate:
        return row.task == "" and row.group == gate["group"]
    if row.task != gate["task"]:
        return False
    main = book.main_key(row.task, row.num_fewshot)
    return row.metric == gate.get("metric", main.metric if main else "")


def _is_true(gate: Mapping[str, object], row: MeasureRow) -> bool:
    if math.isnan(row.value):
        return True
    if "below" in gate:
        return row.value < float(str(gate["below"]))
    return row.value > float(str(gate["above"]))


def _failure(gate: Mapping[str, object], book: ScoreBook, arm: str, value: float) -> FailedGate:
    side = "below" if "below" in gate else "above"
    subject = gate.get("task", gate.get("group"))
    got = "was not measured" if math.isnan(value) else f"is {cell(value)}, {side} {gate[side]}"
    return FailedGate(
        arm=arm,
        variant=book.variant.name,
        value=value,
        message=f"{arm}: {gate['measure']} of {subject} {got}",
    )
