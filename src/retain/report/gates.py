"""``fail_if``: conditions of the recipe that make a run end with exit code 2.

``{measure: change_from_base, task: embedded_boolq, arms: [replay], below: -0.02}``; a ``group`` may
stand for the task, ``above`` for ``below``, and ``phase``, ``metric``, ``num_fewshot``, ``variant``
narrow it. Without them it is the last phase, the main metric, each task's fewest shots, every
variant; without task and group every task.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retain.errors import RecipeError, did_you_mean
from retain.report.measured import KNOWN
from retain.report.scorebook import ScoreBook
from retain.report.tables import MeasureRow, at_fewest_shots, cell

Gate = Mapping[str, object]

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


def check_gate(gate: Gate, place: str) -> None:
    """Refuse a condition that could never be evaluated.

    Raises:
        RecipeError: If a key or the measure is unknown, both task and group are given, or neither
            below nor above.
    """
    for name in gate:
        if name not in KEYS:
            raise RecipeError(f"{place}: {did_you_mean('key', name, list(KEYS))}")
    measure = str(gate.get("measure"))
    if measure not in KNOWN:
        raise RecipeError(f"{place}: {did_you_mean('measure', measure, list(KNOWN))}")
    if "task" in gate and "group" in gate:
        raise RecipeError(f"{place}: both `task` and `group` are given; give one of them")
    if "below" not in gate and "above" not in gate:
        raise RecipeError(f"{place}: needs `below` or `above`, or both")


def failed_gates(
    gates: Sequence[Gate], books: Sequence[ScoreBook], rows: Sequence[MeasureRow]
) -> list[FailedGate]:
    """The conditions that came true, on `report` items.

    Args:
        gates: The recipe's ``fail_if``; keys without a value are as good as absent.
        books: One per variant, of the role "report".
        rows: Measures of all of them. With several seeds the mean over seeds is what counts.

    Returns:
        One entry per arm and figure. A figure that was not measured fails: a gate that cannot be
        read must not let a model pass.

    Raises:
        RecipeError: See `check_gate`; or if an arm is unknown.
    """
    failed: list[FailedGate] = []
    known = list(dict.fromkeys(arm.name for book in books for arm in book.arms))
    for number, written in enumerate(gates, start=1):
        gate = {name: value for name, value in written.items() if value is not None}
        check_gate(gate, f"fail_if, entry {number}")
        for name in _named(gate):
            if not _answering(name, known):
                raise RecipeError(f"fail_if: {did_you_mean('arm', name, known)}")
        for book in books:
            if gate.get("variant", book.variant.name) == book.variant.name:
                failed += _failed(gate, book, rows)
    return failed


def _failed(gate: Gate, book: ScoreBook, rows: Sequence[MeasureRow]) -> list[FailedGate]:
    failed = []
    for arm in _arms(gate, book):
        found = [row for row in rows if row.arm == arm and _is_meant(row, gate, book)]
        found = found if "num_fewshot" in gate else at_fewest_shots(found)
        if not found:
            told = f"{arm}: {gate['measure']} of {_subject(gate)} was not measured"
            failed.append(_failure(book, arm, math.nan, told))
        for row in found:
            broken = _broken(gate, row)
            if broken:
                told = f"{arm}: {gate['measure']} of {row.task or row.group} {broken}"
                failed.append(_failure(book, arm, row.value, told))
    return failed


def _arms(gate: Gate, book: ScoreBook) -> list[str]:
    """The arms that a gate holds for; one that this variant leaves out is passed over."""
    run = [arm.name for arm in book.arms]
    if not isinstance(gate.get("arms"), list | tuple):
        return [arm.name for arm in book.arms if not arm.is_reference]
    return [arm for name in _named(gate) for arm in _answering(name, run)]


def _named(gate: Gate) -> list[str]:
    named = gate.get("arms")
    return list(map(str, named)) if isinstance(named, list | tuple) else []


def _answering(name: str, arms: Sequence[str]) -> list[str]:
    """The arms of this name; an arm of a sweep answers to its name in the recipe too."""
    return [arm for arm in arms if arm == name or arm.startswith(f"{name}@")]


def _is_meant(row: MeasureRow, gate: Gate, book: ScoreBook) -> bool:
    wanted_phase = gate.get("phase", book.variant.phases[-1])
    at_row_0 = gate["measure"] in ("headroom", "chance", "majority")
    return (
        row.variant == book.variant.name
        and row.measure == gate["measure"]
        and (row.phase == wanted_phase or at_row_0)
        and (row.seed is None) == (len(book.seeds) > 1)
        and row.num_fewshot == gate.get("num_fewshot", row.num_fewshot)
        and _is_subject(row, gate, book)
    )


def _is_subject(row: MeasureRow, gate: Gate, book: ScoreBook) -> bool:
    """Whether the row is of the task or group that the gate names; every task without either."""
    if "group" in gate:
        return row.task == "" and row.group == gate["group"]
    if row.task == "" or row.task != gate.get("task", row.task):
        return False
    main = book.main_key(row.task, row.num_fewshot)
    return row.metric == gate.get("metric", main.metric if main else "")


def _subject(gate: Gate) -> object:
    return gate.get("task") or gate.get("group") or "any task"


def _broken(gate: Gate, row: MeasureRow) -> str:
    """How a figure breaks the gate; empty when it does not."""
    if math.isnan(row.value):
        return "was not measured"
    if "below" in gate and row.value < float(str(gate["below"])):
        return f"is {cell(row.value)}, below {gate['below']}"
    if "above" in gate and row.value > float(str(gate["above"])):
        return f"is {cell(row.value)}, above {gate['above']}"
    return ""


def _failure(book: ScoreBook, arm: str, value: float, message: str) -> FailedGate:
    return FailedGate(arm=arm, variant=book.variant.name, value=value, message=message)
