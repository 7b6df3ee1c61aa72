"""The end of a run in the terminal: the verdict, and arms by tasks with the change from base.

All text goes through `visible` and is given to rich as plain text, never as its markup, so that
nothing a model or a recipe wrote can drive the terminal.
"""

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from retain.report.analysis import Analysis
from retain.report.heat import Cell, HeatMap, heat_maps
from retain.report.scorebook import ScoreBook
from retain.report.text import visible
from retain.report.verdict import Verdict

_STYLES = {-3: "bold red", -2: "red", -1: "red", 1: "green", 2: "green", 3: "bold green"}


def show_analysis(analysis: Analysis, console: Console | None = None) -> None:
    """Print what was found: one table and verdict per variant, then gates that failed.

    Args:
        console: Where to; standard output when None.
    """
    out = console or Console()
    for book, verdict in zip(analysis.books, analysis.verdicts, strict=True):
        if len(analysis.books) > 1:
            out.print(_plain(f"variant {book.variant.name}", "bold"))
        out.print(score_table(book))
        out.print(Padding(_told(verdict), (1, 0, 0, 0)))
    for gate in analysis.failed:
        out.print(_plain(f"Gate failed: {gate.message}", "bold red"))


def score_table(book: ScoreBook) -> Table:
    """Row 0, then each arm after the last phase: score, change from base and its interval."""
    maps = heat_maps(book)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    table.add_column(_plain("after " + book.variant.phases[-1], "bold"))
    for column in maps[0].columns if maps else ():
        levels = "".join(f"\n{level}" for level in column.levels)
        mark = "\nno headroom" if column.is_without_headroom else ""
        metric = column.metric.replace(", ", ",\n")
        head = Text.assemble(
            (visible(column.name), "bold"),
            (visible(f"\n{metric}\n{column.facts.num_items} items{levels}{mark}"), "dim"),
        )
        table.add_column(head, justify="right", no_wrap=True)
    for place, one in enumerate(maps):
        if place == 0 or _row(one, 0) != _row(maps[0], 0):
            name = "row 0, base" if place == 0 else f"row 0, {one.arm.name}"
            table.add_row(_plain(name, "dim"), *(_written(cell) for cell in one.rows[0][1]))
    for one in maps:
        cells = [_written(cell) for cell in one.rows[-1][1]]
        table.add_row(_plain(one.arm.name, "bold"), *cells)
    return table


def _row(one: HeatMap, row: int) -> list[str]:
    return [cell.value_text for cell in one.rows[row][1]]


def _written(cell: Cell) -> Text:
    written = Text(cell.value_text)
    if cell.change_text:
        written.append(f" {cell.change_text}", style=_STYLES.get(cell.tone, "dim"))
    if cell.interval_text:
        written.append(f"\n{cell.interval_text}", style="dim")
    return written


def _told(verdict: Verdict) -> Group:
    lines = [_plain(verdict.ship, "bold"), _plain(verdict.breaks), _plain(verdict.why, "dim")]
    if verdict.path:
        loads = f'AutoModelForCausalLM.from_pretrained("{verdict.path}")'
        lines.insert(1, Text("  " + visible(loads), style="cyan", no_wrap=True, overflow="fold"))
    lines.append(_plain(verdict.caveat, "dim"))
    return Group(*(line for line in lines if line.plain))


def _plain(text: str, style: str = "") -> Text:
    return Text(visible(text), style=style)
