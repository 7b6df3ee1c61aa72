"""What a person sees in the terminal while steps run, and how text and tables are written there.

Text that comes from data or a model is stripped of control bytes before it is printed.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from retain.execute.listener import Outcome
from retain.steps.step import Step

QUIET_SECONDS = 2.0
"""A step that takes less is shown without its time."""
LINE_SECONDS, RUN_LINE_SECONDS = 60.0, 300.0
"""Between two lines of progress where there is no terminal: of a command, and of a run's steps."""
FILE_WIDTH = 200
"""Columns where there is no terminal: a step's name stays whole."""
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")


def console() -> Console:
    """The terminal, or the file that the output goes to, where nothing is cut to a width."""
    width = None if sys.stdout.isatty() else FILE_WIDTH
    return Console(highlight=False, width=width)


def plain(text: str) -> str:
    r"""The text without escape sequences, control bytes and marks that turn its direction.

    >>> plain("a\x1b[31mb\x07c\u202e")
    'abc'
    """
    kept = ESCAPES.sub("", text)
    return "".join(
        c for c in kept if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co")
    )


class Watch:
    """Shows each running step with a bar and the time left; a line for each that is done.

    Where the output is no terminal, a line on the error stream says every five minutes how far a
    step is.
    """

    def __init__(self) -> None:
        self.console = console()
        self._bars = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._bar_of: dict[Step, TaskID] = {}
        self._lines_of: dict[Step, Callable[..., None]] = {}
        self._reused = 0

    def __enter__(self) -> "Watch":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def start(self, step: Step, position: int, total: int) -> None:
        """A step begins."""
        label = f"{position}/{total} {step.kind} {step.name}"
        self._bar_of[step] = self._bars.add_task(label, total=None, unit="", text="")
        if not self.console.is_terminal:
            self._lines_of[step] = _lines(label, RUN_LINE_SECONDS)

    def progress(self, step: Step, done: float, total: float, text: str, unit: str) -> None:
        """A running step moved on."""
        if step in self._lines_of:
            self._lines_of[step](done, total, text, unit)
        if step in self._bar_of:
            bar, shown = self._bar_of[step], escape(plain(text))
            self._bars.update(bar, completed=done, total=total or None, unit=unit, text=shown)

    def done(self, step: Step, outcome: Outcome, seconds: float) -> None:
        """A step ended."""
        if step in self._bar_of:
            self._bars.remove_task(self._bar_of.pop(step))
            self._lines_of.pop(step, None)
        if outcome == "reused":
            self._reused += 1
            return
        time = f"{seconds:7.1f} s" if seconds >= QUIET_SECONDS else " " * 9
        self.console.print(f"  {outcome:11} {time}  {step.kind} [dim]{step.name}[/dim]")

    def message(self, text: str) -> None:
        """Something a person should know."""
        self.console.print(escape(plain(text)))

    @property
    def num_reused(self) -> int:
        """Steps that were finished before."""
        return self._reused


def show_examples(examples: Iterable[tuple[str, Sequence[tuple[str, bool]]]]) -> None:
    """Print examples as (title, segments), the trained ones in colour.

    Without colours (a file, ``NO_COLOR``) trained segments stand in ⟦double brackets⟧.
    """
    out = console()
    for title, segments in examples:
        out.print(f"[bold]{escape(plain(title))}[/bold]")
        text = Text()
        for segment, trained in segments:
            shown = plain(segment)
            if out.no_color or not out.is_terminal:
                text.append(f"⟦{shown}⟧" if trained else shown)
            else:
                text.append(shown, style="bold green" if trained else "")
        out.print(text)
        out.print()
    out.print("[dim]trained tokens: green, or in ⟦double brackets⟧ without colour[/dim]")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table; a column whose name begins with ``>`` is set flush right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        made.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left")
    for row in rows:
        made.add_row(*(escape(plain(cell)) for cell in row))
    return made


@contextmanager
def bar(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar with time left; yields a function of done, total, text and unit.

    Where the output is no terminal, a line a minute on the error stream.
    """
    if not sys.stdout.isatty():
        yield _lines(title, LINE_SECONDS)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        transient=True,
    ) as bars:
        shown = bars.add_task(escape(plain(title)), total=None, unit="", text="")

        def progress(done: float, total: float, text: str = "", unit: str = "") -> None:
            said = escape(plain(text))
            bars.update(shown, completed=done, total=total or None, unit=unit, text=said)

        yield progress


def _lines(title: str, seconds: float) -> Callable[..., None]:
    """Progress where nobody sees a bar: a line on the error stream, so many seconds apart."""
    began = told = monotonic()
    first: float | None = None

    def progress(done: float, total: float, text: str = "", unit: str = "") -> None:
        nonlocal told, first
        first = done if first is None else first
        now = monotonic()
        if now - told < seconds:
            return
        told = now
        of = f" of {total:,.0f}" if total else ""
        left = duration((total - done) * (now - began) / (done - first)) if done > first else ""
        said = [f"{done:,.0f}{of} {unit}".rstrip(), text, f"{left} left" if total and left else ""]
        sys.stderr.write(plain(f"{title}: {', '.join(filter(None, said))}\n"))
        sys.stderr.flush()

    return progress


@contextmanager
def no_bar(title: str) -> Iterator[Callable[..., None]]:
    """Like ``bar``, and shows nothing."""
    yield lambda *state: None


def say(text: str) -> None:
    """Print a line."""
    console().print(plain(text), markup=False)


def duration(seconds: float) -> str:
    """A time in the unit a person would use.

    >>> duration(7), duration(300), duration(40000)
    ('7 s', '5 min', '11.1 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def size(num_bytes: float) -> str:
    """Bytes in MB or GB; nothing for none.

    >>> size(5.4e8), size(2.5e9)
    ('540 MB', '2.5 GB')
    """
    if not num_bytes:
        return ""
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:.1f} GB"
