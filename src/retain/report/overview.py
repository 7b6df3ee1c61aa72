"""Tables of the page: what differs between the arms, all measures, sample answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from retain.report.analysis import Analysis
from retain.report.results import Arm, Sample, TrainFacts
from retain.report.scorebook import ScoreBook
from retain.report.tables import MeasureRow
from retain.report.text import ends, metric_name, number, signed, task_name

MEASURE_WORDS = {
    "average_score": ("Average score", "mean of the last row over taught tasks"),
    "learning_score": ("Learning score", "mean score right after each task's own phase"),
    "learnt": ("Learnt", "share of the control's gain"),
    "forgetting": ("Forgetting", "best earlier score − last; positive is loss"),
    "backward_transfer": ("Backward transfer", "last score − just learnt; negative is loss"),
    "forward_transfer": ("Forward transfer", "score before its own phase − row 0"),
    "change_from_base": ("Change from base", "score − row 0; negative is loss"),
    "fg": ("FG, all phases", "part of row 0 that is lost, mean over phases; positive is loss"),
    "fg_last_phase": ("FG, last phase", "part of row 0 that is lost; positive is loss"),
    "fg_chance_adjusted": ("FG above chance, all phases", "part of row 0 above chance that is lost"),
    "fg_chance_adjusted_last_phase": (
        "FG above chance, last phase",
        "part of row 0 above chance that is lost",
    ),
    "right_to_wrong": ("Right → wrong", "fraction of items"),
    "wrong_to_right": ("Wrong → right", "fraction of items"),
    "right_to_wrong_beyond_chance": ("Right → wrong beyond chance", "lucky guesses taken off"),
}
"""What the page calls each measure it shows, and its sign; in the page's order."""

SIGNED = ("change_from_base", "backward_transfer", "forward_transfer")

MOST_SAMPLES = 12
"""Prompts shown; texts are cut at `MOST_CHARACTERS`."""

MOST_CHARACTERS = 700


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What one arm, or all arms alike, spent on one phase; ``arm`` is None for all alike."""

    arm: Arm | None
    place: int
    facts: TrainFacts


def efforts(analysis: Analysis, book: ScoreBook) -> list[tuple[str, list[Effort]]]:
    """For each phase one line per arm, or a single one where the arms do not differ.

    Of several seeds the first is told.
    """
    places = {arm.name: place for place, arm in enumerate(book.arms)}
    found = []
    for index, phase in enumerate(book.variant.phases, start=1):
        facts = [
            one
            for one in analysis.results.training
            if one.checkpoint[:1] == (book.variant.name,)
            and one.checkpoint.seed == book.seeds[0]
            and one.checkpoint.phase_index == index
        ]
        alike = {replace(one, checkpoint=facts[0].checkpoint, seconds=0.0) for one in facts}
        if len(alike) == 1 and len(facts) > 1:
            lines = [Effort(arm=None, place=0, facts=facts[0])]
        else:
            lines = [
                Effort(
                    arm=book.arms[places[one.checkpoint.arm]],
                    place=places[one.checkpoint.arm],
                    facts=one,
                )
                for one in sorted(facts, key=lambda one: places[one.checkpoint.arm])
            ]
        found.append((phase, lines))
    return [(phase, lines) for phase, lines in found if lines]


@dataclass(frozen=True, kw_only=True)
class MeasureLine:
    """One measure of one group or task, for every arm: (figure, interval) as text."""

    name: str
    hint: str
    subject: str
    num_items: int
    cells: tuple[tuple[str, str], ...]


def measure_lines(analysis: Analysis, book: ScoreBook) -> list[MeasureLine]:
    """Measures after the last phase: of groups, and the flips and learnt of single tasks."""
    rows = [row for row in analysis.measures if _is_shown(row, book)]
    order = list(MEASURE_WORDS)
    by_line: dict[tuple[str, str, str, str], dict[str, MeasureRow]] = {}
    for row in sorted(rows, key=lambda row: order.index(row.measure)):
        line = (row.measure, row.group, row.task, row.unit)
        by_line.setdefault(line, {})[row.arm] = row
    return [_line(book, by_arm) for by_arm in by_line.values()]


def _is_shown(row: MeasureRow, book: ScoreBook) -> bool:
    single = ("learnt", "right_to_wrong", "wrong_to_right", "right_to_wrong_beyond_chance")
    main = book.main_key(row.task, row.num_fewshot)
    return (
        row.variant == book.variant.name
        and row.phase_index == book.num_phases
        and row.measure in MEASURE_WORDS
        and (row.seed is None) == (len(book.seeds) > 1)
        and row.num_fewshot == book.shots[0]
        and (row.task == "" or (row.measure in single and main is not None))
        and (main is None or row.metric == main.metric)
    )


def _line(book: ScoreBook, by_arm: dict[str, MeasureRow]) -> MeasureLine:
    first = next(iter(by_arm.values()))
    name, hint = MEASURE_WORDS[first.measure]
    since = {"just_learnt": ", since just learnt", "base": ", since row 0"}
    if first.measure.startswith(("right", "wrong")):
        hint += since.get(first.versus, "")
    if first.measure == "learnt" and book.control:
        hint = f"share of what {book.control} learnt"
    unit = first.unit.removeprefix("-")
    negated = " (negated)" if first.unit.startswith("-") else ""
    subject = task_name(first.task) if first.task else f"{first.group}: {_unit(unit)}{negated}"
    write = signed if first.measure in SIGNED else number
    cells = []
    for arm in book.arms:
        row = by_arm.get(arm.name)
        if row is None:
            cells.append(("", ""))
            continue
        its_ends = ends(_interval(row), signs=first.measure in SIGNED)
        cells.append((write(row.value), its_ends))
    return MeasureLine(
        name=name, hint=hint, subject=subject, num_items=first.num_items, cells=tuple(cells)
    )
