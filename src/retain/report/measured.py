"""Named figures: what a measure is called, what it is compared with, and its value somewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from retain.measure.forgetting import mean_of_like_units
from retain.report.flips import Turned
from retain.report.scorebook import Floats, ScoreBook
from retain.report.scores import TaskKey


class Measure(NamedTuple):
    """A kind of figure.

    Attributes:
        name: As in measures.csv.
        versus: What it is compared with; empty when with nothing, "control" for the book's own.
        unit: Of the figure; empty when it is the unit of the oriented score itself.
    """

    name: str
    versus: str = ""
    unit: str = ""


SCORE = Measure("score")
CHANCE = Measure("chance")
MAJORITY = Measure("majority")
HEADROOM = Measure("headroom", "chance_and_majority")
CHANGE = Measure("change_from_base", "base")
DIFFERENCE = Measure("difference", "control")
DIFFERENCE_P = Measure("difference_p", "control", "probability")
DIFFERENCE_HOLM = Measure("difference_p_holm", "control", "probability")
VISIBLE_DIFFERENCE = Measure("smallest_visible_difference", "control")
LEARNT = Measure("learnt", "control", "share_of_gain")
AVOIDED = Measure("loss_avoided", "control", "share_of_loss")
RIGHT_TO_WRONG = Measure("right_to_wrong", "", "fraction_of_items")
WRONG_TO_RIGHT = Measure("wrong_to_right", "", "fraction_of_items")
BEYOND_CHANCE = Measure("right_to_wrong_beyond_chance", "", "fraction_of_items")
RIGHT_ANSWER = Measure("right_answer_log_probability", "", "bits_per_byte")
RIGHT_ANSWER_CHANGE = Measure("right_answer_log_probability_change", "base", "bits_per_byte")
COMMONEST = Measure("commonest_answer_share", "", "fraction_of_items")
VISIBLE = Measure("smallest_visible_change", "base")
FG = Measure("fg", "base", "fraction_of_base")
FG_ADJUSTED = Measure("fg_chance_adjusted", "base", "fraction_of_base_above_chance")
FORGETTING = Measure("forgetting", "best_earlier")
BACKWARD = Measure("backward_transfer", "just_learnt")
FORWARD = Measure("forward_transfer", "base")
AVERAGE = Measure("average_score")
LEARNING = Measure("learning_score")

KNOWN = (
    *(
        measure.name
        for measure in (
            *(SCORE, CHANCE, MAJORITY, HEADROOM, CHANGE, DIFFERENCE, LEARNT, AVOIDED, VISIBLE),
            *(DIFFERENCE_P, DIFFERENCE_HOLM, VISIBLE_DIFFERENCE),
            *(FG, FG_ADJUSTED),
            *(RIGHT_TO_WRONG, WRONG_TO_RIGHT, BEYOND_CHANCE),
            *(RIGHT_ANSWER, RIGHT_ANSWER_CHANGE, COMMONEST),
            *(FORGETTING, BACKWARD, FORWARD, AVERAGE, LEARNING),
        )
    ),
    "fg_last_phase",
    "fg_chance_adjusted_last_phase",
)
"""Every measure that a gate of a recipe can name."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One figure of one arm and seed.

    Attributes:
        group: The group, or the group of the task.
        key: Of the task; for a figure of a group, a key without task and metric, with the fewest
            shots of its tasks.
        sampled: The figure and its resamples, shape (N,).
        unit: What the figure counts; starts with "-" where the score was turned round.
        num_items: Items behind the figure, over all its tasks.
        turned: Of a comparison of two checkpoints on items that are right or wrong.
    """

    phase_index: int
    group: str
    key: TaskKey
    measure: Measure
    sampled: Floats
    unit: str
    num_items: int
    turned: Turned | None = None


def of_task(
    book: ScoreBook,
    phase_index: int,
    key: TaskKey,
    measure: Measure,
    sampled: Floats,
    turned: Turned | None = None,
) -> Measured:
    """A figure of one task."""
    facts = book.tasks[key]
    return Measured(
        phase_index=phase_index,
        group=book.group_of(key),
        key=key,
        measure=measure,
        sampled=sampled,
        unit=measure.unit or facts.oriented_unit,
        num_items=facts.num_items,
        turned=turned,
    )


def of_tasks(
    book: ScoreBook, phase_index: int, keys: list[TaskKey], measure: Measure, sampled_NT: Floats
) -> Iterator[Measured]:
    """A figure of each of these tasks."""
    for t, key in enumerate(keys):
        yield of_task(book, phase_index, key, measure, sampled_NT[:, t])


def of_group(
    book: ScoreBook,
    phase_index: int,
    group: str,
    keys: list[TaskKey],
    measure: Measure,
    sampled_NT: Floats,
) -> Iterator[Measured]:
    """The mean over these tasks, one for each unit among them."""
    units = [_unit(book, key, measure) for key in keys]
    for unit, mean_N in mean_of_like_units(sampled_NT, units).items():
        same = [key for key, its in zip(keys, units, strict=True) if its == unit]
        yield Measured(
            phase_index=phase_index,
            group=group,
            key=TaskKey("", "", min(key.num_fewshot for key in same)),
            measure=measure,
            sampled=mean_N,
            unit=unit,
            num_items=sum(book.tasks[key].num_items for key in same),
        )


def _unit(book: ScoreBook, key: TaskKey, measure: Measure) -> str:
    """Unit of the figure; relative ones keep apart what was turned round."""
    facts = book.tasks[key]
    if not measure.unit:
        return facts.oriented_unit
    return measure.unit if facts.higher_is_better else f"-{measure.unit}"
