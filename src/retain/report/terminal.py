"""The end of a run in the terminal: the verdict, and arms by tasks with the change from base.

All text goes through `visible` and is given to rich as plain text, never as its markup, so that
nothing a model or a recipe wrote can drive the terminal.
"""

from collections.abc import Sequence
from io import StringIO
from math import isnan

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from retain.report.analysis import Analysis
from retain.report.comparisons import told_p
from retain.report.heat import Cell, Column, HeatMap, heat_maps
from retain.report.runs import RunComparison
from retain.report.scorebook import ScoreBook
from retain.report.text import apart, metric_name, number, signed, task_name, visible
from retain.report.verdict import Verdict

_COLUMN_WIDTH = 20
"""Of a score with its interval, and the space beside it."""

_STYLES = {-3: "bold red", -2: "red", -1: "red", 1: "green", 2: "green", 3: "bold green"}


def show_analysis(analysis: Analysis, console: Console | None = None) -> None:
    """Print what was found: one table and verdict per variant, then gates that failed.

    Args:
        analysis: What was found.
        console: Where to; standard output when None.
    """
    out, lost = console or Console(), analysis.results.lost
    for book, verdict in zip(analysis.books, analysis.verdicts, strict=True):
        if len(analysis.books) > 1:
            out.print(_plain(f"variant {book.variant.name}", "bold"))
        for table in score_tables(book, out.width, [one.arm.name for one in lost]):
            out.print(table)
            out.print()
        _tell(verdict, out)
    for one in lost:
        out.print(_plain(f"Arm {one.arm.name} failed. {one.told}", "bold red"))
    for gate in analysis.failed:
        out.print(_plain(f"Gate failed: {gate.message}", "bold red"))


def score_tables(book: ScoreBook, width: int, lost: Sequence[str] = ()) -> list[Table]:
    """Row 0, then each arm after the last phase: score, change from base and its interval.

    Args:
        book: The scores of one variant.
        width: Of the terminal, in characters; tasks that do not fit beside others get a table of
            their own.
        lost: Arms that failed: rows without scores.
    """
    maps = heat_maps(book)
    num_columns = len(maps[0].columns) if maps else 0
    names = max((len(name) for name in (*(one.arm.name for one in maps), *lost)), default=0)
    at_once = max(1, (width - max(names, 12)) // _COLUMN_WIDTH)
    return [
        _table(book, maps, range(start, min(start + at_once, num_columns)), lost)
        for start in range(0, num_columns, at_once)
    ]


def _table(book: ScoreBook, maps: list[HeatMap], places: range, lost: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    table.add_column(_plain("after " + book.variant.phases[-1], "bold"), no_wrap=True)
    for place in places:
        table.add_column(_head(maps[0].columns[place]), justify="right", no_wrap=True)
    for one in maps:
        if one is maps[0] or _row(one, 0) != _row(maps[0], 0):
            name = "row 0, base" if one is maps[0] else f"row 0, {one.arm.name}"
            table.add_row(_plain(name, "dim"), *(_written(one.rows[0][1][p]) for p in places))
    for one in maps:
        cells = [_written(one.rows[-1][1][place]) for place in places]
        table.add_row(_plain(one.arm.name, "bold"), *cells)
    for arm in lost:
        table.add_row(_plain(arm, "bold"), *(_plain("failed", "red") for _ in places))
    return table


def _head(column: Column) -> Text:
    lines = [*column.metric.split(", "), f"{column.facts.num_items} items", *column.levels]
    if column.is_without_headroom:
        lines.append("no headroom")
    return Text.assemble(
        (visible(column.name), "bold"), *((visible(f"\n{line}"), "dim") for line in lines)
    )


def _row(one: HeatMap, row: int) -> list[str]:
    return [cell.value_text for cell in one.rows[row][1]]


def _written(cell: Cell) -> Text:
    written = Text(cell.value_text)
    if cell.change_text:
        written.append(f" {cell.change_text}", style=_STYLES.get(cell.tone, "dim"))
    if cell.interval_text:
        written.append(f"\n{cell.interval_text}", style="dim")
    return written


def _tell(verdict: Verdict, out: Console) -> None:
    out.print(_plain(verdict.ship, "bold"))
    if verdict.path:
        loads = f'  {verdict.opens_with}.from_pretrained("{verdict.path}")'
        out.print(_plain(loads, "cyan"), soft_wrap=True)
    for text, style in ((verdict.breaks, ""), (verdict.why, "dim"), (verdict.caveat, "dim")):
        if text:
            out.print(_plain(text, style))


def _plain(text: str, style: str = "") -> Text:
    return Text(visible(text), style=style)


def run_table(found: RunComparison, name: str, other: str) -> str:
    """Two runs arm by arm, as text: the difference, its interval and p by Holm."""
    made = Table(title=visible(f"{name} less {other}, same report items"), box=None, pad_edge=False)
    for column in ("task", "arm", name, other, "difference", "95 %", "p (Holm)", "items"):
        justify: JustifyMethod = "left" if column in ("task", "arm") else "right"
        made.add_column(_plain(column), justify=justify, no_wrap=True)
    for row in found.rows:
        better = "" if row.higher_is_better else ", lower is better"
        shots = f", {row.num_fewshot} shots" if row.num_fewshot else ""
        task = f"{task_name(row.task)} ({metric_name(row.metric)}{better}{shots})"
        cells = (
            *(task, row.arm, number(row.value), number(row.other), signed(row.difference)),
            *(apart(row.interval, row.num_items), "" if isnan(row.p_holm) else told_p(row.p_holm)),
            str(row.num_items),
        )
        made.add_row(*map(_plain, cells))
    out = Console(width=160, highlight=False, record=True, file=StringIO())
    out.print(made)
    return out.export_text().rstrip()
