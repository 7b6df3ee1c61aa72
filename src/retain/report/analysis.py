"""From results to everything the report says, before it is drawn or written.

The two roles part here: arms are chosen from a copy of the results that holds `select` items alone,
all else is made from a copy that holds `report` items alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retain.errors import DataError
from retain.report.choice import Choice, choose, parse_rule
from retain.report.gates import FailedGate, failed_gates
from retain.report.results import Results
from retain.report.scorebook import ScoreBook
from retain.report.stops import gates_of_stop, with_stops
from retain.report.tables import MeasureRow, measure_rows
from retain.report.verdict import Verdict, judge


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All figures of a run, of `report` items alone.

    Attributes:
        results: Cut to the role "report".
        books: One per variant, in the recipe's order.
        full_books: The same with the checkpoints inside the last phase as arms; see `stops`.
        measures: The lines of measures.csv.
        verdicts: One per variant.
        failed: Conditions of ``fail_if`` that came true; the run then ends with exit code 2.
    """

    results: Results
    books: tuple[ScoreBook, ...]
    full_books: tuple[ScoreBook, ...]
    measures: tuple[MeasureRow, ...]
    verdicts: tuple[Verdict, ...]
    failed: tuple[FailedGate, ...]


def choose_arms(results: Results) -> tuple[Choice, ...]:
    """What the recipe's rule chooses for each variant, read off `select` items.

    Raises:
        RecipeError: If the rule is not of the grammar in `choice`.
    """
    selected = with_stops(results.of_role("select"))
    rule = parse_rule(_choose(results))
    return tuple(choose(ScoreBook(selected, one.name), rule) for one in results.variants)


def analyse(results: Results, choices: Sequence[Choice]) -> Analysis:
    """Everything the report says, given the choices; no `select` item is read.

    Raises:
        DataError: If nothing was scored, or checkpoints were scored on unlike items.
        RecipeError: If ``choose`` or ``fail_if`` of the recipe cannot be read.
    """
    reported = results.of_role("report")
    if not reported.scores:
        raise DataError(
            f"{results.run_folder}: no score of `report` items to write about; evaluate first "
            "with `retain run`"
        )
    rule = parse_rule(_choose(results))
    books = tuple(ScoreBook(reported, variant.name) for variant in results.variants)
    measures = tuple(row for book in books for row in measure_rows(book))
    gates = results.recipe.get("fail_if") or ()
    failed = failed_gates(gates, books, measures)
    full = with_stops(reported)
    full_books = books
    if full is not reported:
        full_books = tuple(ScoreBook(full, variant.name) for variant in results.variants)
    for book, choice in zip(full_books, choices, strict=True):
        if any(arm.name == choice.arm and arm.part for arm in book.arms):
            failed += gates_of_stop(gates, book, str(choice.arm))
    return Analysis(
        results=reported,
        books=books,
        full_books=full_books,
        measures=measures,
        verdicts=tuple(
            judge(reported, book, choice, rule, failed)
            for book, choice in zip(full_books, choices, strict=True)
        ),
        failed=tuple(failed),
    )


def _choose(results: Results) -> Mapping[str, object] | None:
    return results.recipe.get("choose")
