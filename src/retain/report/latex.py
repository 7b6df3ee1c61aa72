r"""measures.tex: the last row of every arm as a table of LaTeX, with its change from base.

``\usepackage{booktabs}``, then ``\input{measures.tex}``.
"""

import re

from retain.report.analysis import Analysis
from retain.report.heat import Cell, Column, HeatMap, heat_maps
from retain.report.scorebook import ScoreBook
from retain.report.text import MINUS, one_line

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
} | {mark: f"\\{mark}" for mark in "$&#_%"}


def measures_tex(analysis: Analysis) -> str:
    """One table for each variant: row 0, then each arm after the last phase."""
    several = len(analysis.books) > 1
    return "\n".join(_table(analysis, book, several=several) for book in analysis.books)


def escaped(text: str) -> str:
    r"""Text that LaTeX prints as it is, on one line.

    >>> escaped("a_b 50% \\x")
    'a\\_b 50\\% \\textbackslash{}x'
    """
    return re.sub(r"[\\{}~^<>|$&#_%]", lambda found: _SPECIAL[found[0]], one_line(text))


def _table(analysis: Analysis, book: ScoreBook, *, several: bool) -> str:
    maps = heat_maps(book)
    columns = maps[0].columns if maps else ()
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{_caption(analysis, book)}}}",
        rf"\label{{tab:{_label(analysis, book, several=several)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *(escaped(one.name) for one in columns)]) + r" \\",
        " & ".join(["", *(_unit(one) for one in columns)]) + r" \\",
        r"\midrule",
    ]
    if maps:
        lines.append(_row("base model", maps[0].rows[0][1]))
        lines += [_row(_name(one), one.rows[-1][1]) for one in maps]
        lines += [_failed(one.arm.name, len(columns)) for one in analysis.results.lost]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _name(one: HeatMap) -> str:
    return f"{one.arm.name} (reference)" if one.arm.is_reference else one.arm.name


def _unit(column: Column) -> str:
    return rf"\scriptsize {escaped(column.metric)}, {column.facts.num_items} items"


def _row(name: str, cells: tuple[Cell, ...]) -> str:
    return " & ".join([escaped(name), *map(_cell, cells)]) + r" \\"


def _failed(name: str, num_columns: int) -> str:
    """An arm that failed: a row of empty cells that says so."""
    return rf"{escaped(name)} & \multicolumn{{{num_columns}}}{{c}}{{failed}} \\"


def _cell(cell: Cell) -> str:
    """The score, bold where its change is beyond the interval, and that interval."""
    value = _number(cell.value_text)
    value = rf"\textbf{{{value}}}" if cell.tone else value
    if cell.interval_text:
        value += rf" {{\scriptsize {_number(cell.interval_text)}}}"
    return value


def _number(text: str) -> str:
    plain = text.replace("\N{NARROW NO-BREAK SPACE}", r"\,")
    return plain.replace(MINUS, "$-$").replace("\N{EN DASH}", "--")


def _caption(analysis: Analysis, book: ScoreBook) -> str:
    seeds = f"mean over {len(book.seeds)} seeds" if len(book.seeds) > 1 else "one seed"
    phases = escaped(", ".join(book.variant.phases))
    return (
        f"{escaped(analysis.results.name)}: {escaped(book.variant.model)} after the phases "
        f"{phases} ({seeds}). In brackets the 95\\,\\% interval of the change from the base model; "
        "bold where it leaves 0 out."
    )


def _label(analysis: Analysis, book: ScoreBook, *, several: bool) -> str:
    name = f"{analysis.results.name}-{book.variant.name}" if several else analysis.results.name
    return re.sub(r"[^A-Za-z0-9:-]", "-", name)
