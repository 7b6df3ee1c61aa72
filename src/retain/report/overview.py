"""Tables of the page: what differs between the arms, all measures, sample answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from retain.report.analysis import Analysis
from retain.report.facts import Sample, TrainFacts
from retain.report.results import Arm
from retain.report.scorebook import ScoreBook
from retain.report.tables import MeasureRow, at_fewest_shots
from retain.report.text import apart, count, ends, number, signed, task_name

MEASURE_WORDS = {
    "average_score": ("Average score", "mean of the last row over taught tasks"),
    "learning_score": ("Learning score", "mean score right after each task's own phase"),
    "learnt": ("Learnt", "share of the control's gain"),
    "forgetting": ("Forgetting", "best earlier score less the last; positive is loss"),
    "backward_transfer": (
        "Backward transfer",
        "last score less the one just learnt; negative is loss",
    ),
    "forward_transfer": ("Forward transfer", "score before its own phase less row 0"),
    "change_from_base": ("Change from base", "score less row 0; negative is loss"),
    "fg": ("FG, all phases", "part of row 0 that is lost, mean over phases; positive is loss"),
    "fg_last_phase": ("FG, last phase", "part of row 0 that is lost; positive is loss"),
    "fg_chance_adjusted": (
        "FG above chance, all phases",
        "part of row 0 above chance that is lost",
    ),
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

FLIPS = ("right_to_wrong", "wrong_to_right")

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
    placed = {arm.name: (place, arm) for place, arm in book.placed}
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
                Effort(arm=arm, place=place, facts=one)
                for one in sorted(facts, key=lambda one: placed[one.checkpoint.arm][0])
                for place, arm in (placed[one.checkpoint.arm],)
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
    rows = at_fewest_shots(row for row in analysis.measures if _is_shown(row, book))
    order = list(MEASURE_WORDS)
    by_line: dict[tuple[str, str, str, str], dict[str, MeasureRow]] = {}
    for row in sorted(rows, key=lambda row: order.index(row.measure)):
        line = (row.measure, row.group, row.task, row.unit)
        by_line.setdefault(line, {})[row.arm] = row
    return [_line(book, by_arm) for by_arm in by_line.values()]


def _is_shown(row: MeasureRow, book: ScoreBook) -> bool:
    single = ("learnt", *FLIPS, "right_to_wrong_beyond_chance")
    main = book.main_key(row.task, row.num_fewshot)
    return (
        row.variant == book.variant.name
        and row.phase_index == book.num_phases
        and row.measure in MEASURE_WORDS
        and (row.seed is None) == (len(book.seeds) > 1)
        and (row.task == "" or (row.measure in single and main is not None))
        and (main is None or row.metric == main.metric)
    )


def _line(book: ScoreBook, by_arm: Mapping[str, MeasureRow]) -> MeasureLine:
    first = next(iter(by_arm.values()))
    name, hint = MEASURE_WORDS[first.measure]
    if first.measure == "learnt":
        hint = f"share of what {book.told_control} learnt"
    elif first.task:
        since = "just learnt" if first.versus == "just_learnt" else "row 0"
        hint = f"{hint}, since {since}"
    return MeasureLine(
        name=name,
        hint=hint,
        subject=_subject(first),
        num_items=first.num_items,
        cells=tuple(_cell(by_arm.get(arm.name)) for arm in book.arms),
    )


def _subject(row: MeasureRow) -> str:
    if row.task:
        return task_name(row.task)
    is_turned = row.unit.startswith("-")
    if row.measure.startswith("fg"):
        better = "lower" if is_turned else "higher"
        return f"{row.group}, tasks where {better} is better"
    unit = row.unit.removeprefix("-").replace("_", " ")
    return f"{row.group}, {unit}" + (", negated" if is_turned else "")


def _cell(row: MeasureRow | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    if row.interval == (0.0, 0.0) and row.measure in FLIPS:
        return number(row.value), f"none of {count(row.num_items)} items"
    if row.interval == (0.0, 0.0) and row.measure == "right_to_wrong_beyond_chance":
        return number(row.value), "luck explains all"
    if row.interval == (1.0, 1.0) and row.measure == "learnt":
        return number(row.value), "by definition"
    if row.measure in SIGNED:
        return signed(row.value), apart(row.interval, row.num_items)
    return number(row.value), ends(row.interval, signs=False)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was answered: by whom (a checkpoint in words; its arm, if one alone), and the text."""

    who: str
    text: str
    arm: Arm | None = None
    place: int = 0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One held-out prompt and every answer to it, before and after."""

    task: str
    prompt: str
    reference: str
    answers: tuple[Answer, ...]


def asked(analysis: Analysis, book: ScoreBook) -> list[Asked]:
    """Sample answers by prompt; checkpoints that answered alike in all arms are told once.

    The first seed speaks. At most `MOST_SAMPLES` prompts, taken in turn from each task.
    """
    by_prompt: dict[tuple[str, str, str], list[Sample]] = {}
    for sample in analysis.results.samples:
        where = sample.checkpoint
        if where.variant == book.variant.name and where.seed == book.seeds[0]:
            by_prompt.setdefault((sample.task, sample.prompt, sample.reference), []).append(sample)
    found = [
        Asked(
            task=task_name(task),
            prompt=_cut(prompt),
            reference=_cut(reference),
            answers=tuple(_answers(book, samples)),
        )
        for (task, prompt, reference), samples in by_prompt.items()
    ]
    return _in_turn(found)[:MOST_SAMPLES]


def _in_turn(found: Sequence[Asked]) -> list[Asked]:
    """The first prompt of each task, then the second of each, and so on."""
    seen: dict[str, int] = {}
    ranked = []
    for one in found:
        seen[one.task] = seen.get(one.task, 0) + 1
        ranked.append((seen[one.task], one))
    return [one for _, one in sorted(ranked, key=lambda pair: pair[0])]


def _answers(book: ScoreBook, samples: Sequence[Sample]) -> Iterator[Answer]:
    for row in range(book.num_phases + 1):
        here = {s.checkpoint.arm: s for s in samples if s.checkpoint.phase_index == row}
        after = f"after {book.phase_name(row)}" if row else "base model"
        if len(here) > 1 and len({sample.response for sample in here.values()}) == 1:
            who = after if row == 0 else f"{after}, all arms"
            yield Answer(who=who, text=_cut(next(iter(here.values())).response))
            continue
        for place, arm in book.placed:
            if arm.name in here:
                text = _cut(here[arm.name].response)
                yield Answer(who=f"{after}, {arm.name}", text=text, arm=arm, place=place)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"
