"""What a person sees in the terminal while steps run, and when data or a plan is shown.

Text that comes from data or a model is stripped of control bytes before it is printed.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from time import monotonic
from types import TracebackType
from typing import Any

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


def score_table(scores: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    """Scores over all items as a table, with what a reader should know below it."""
    rows = [
        (
            str(one["task"]),
            str(one["num_fewshot"]),
            str(one["metric"]) + (" (main)" if one["is_main"] else ""),
            _number(one["value"]),
            _number(one["stderr"]),
            str(one["num_items"]),
            _number(one["chance"]),
            _number(one["majority"]),
        )
        for one in scores
        if one["role"] == "all"
    ]
    columns = ("task", ">shots", "metric", ">value", ">± 1 se", ">items", ">chance", ">majority")
    out = Console(width=110, highlight=False, record=True, file=StringIO())
    out.print(table("", columns, rows))
    return "\n".join([out.export_text().rstrip(), *map(plain, notes)])


def comparison_table(rows: Sequence[Mapping[str, Any]], model: str, other: str) -> str:
    """Two models on the same items, with the interval of their difference."""
    cells = [
        (
            str(one["task"]),
            str(one["num_fewshot"]),
            str(one["metric"]) + (" (main)" if one["is_main"] else ""),
            _number(one["value"]),
            _number(one["other"]),
            _number(one["difference"]),
            _interval(one["ci_low"], one["ci_high"]),
            str(one["num_items"]),
        )
        for one in rows
    ]
    columns = ("task", ">shots", "metric", ">value", ">other", ">difference", ">95 %", ">items")
    out = Console(width=110, highlight=False, record=True, file=StringIO())
    out.print(table(plain(f"{model} minus {other}, same items"), columns, cells))
    return out.export_text().rstrip()


def _interval(low: float | None, high: float | None) -> str:
    """Both ends; empty where there are none, as of a number of the whole corpus."""
    if low is None or high is None:
        return ""
    return "no difference" if low == high == 0 else f"[{_number(low)}, {_number(high)}]"


def show_plan(plan: Any) -> None:
    """Print every step of a plan, and what it comes to."""
    out = console()
    rows = [
        (
            line.step.folder,
            "cached" if line.is_cached else "new",
            _count(line.tokens),
            _count(line.trained_tokens),
            _count(line.trainable_parameters),
            "" if line.is_cached else duration(line.seconds),
            size(line.memory_bytes),
        )
        for line in plan.lines
    ]
    columns = ("step", "", ">tokens", ">trained tokens", ">trainable", ">time", ">memory")
    new = sum(not line.is_cached for line in plan.lines)
    title = f"{len(rows)} steps, {new} of them new"
    out.print(table(title, columns, rows))
    if new:
        out.print(
            f"time {duration(plan.seconds)}{_at_once(plan)}, "
            f"memory at most {size(plan.memory_bytes)} (saving takes "
            f"{size(plan.copy_bytes)} more where memory is plenty), "
            f"disk {size(plan.final_disk_bytes)} when done, {size(plan.peak_disk_bytes)} at most"
        )
    else:
        out.print("every step is done: a run only writes its report")
    if plan.visible:
        told = ", ".join(
            f"{task} {one.change:.3f} ({one.num_items} items)" for task, one in plan.visible.items()
        )
        out.print(
            plain(
                "smallest change of an accuracy that these items show four times out of five, if a "
                f"fifth of them comes out otherwise: {told}"
            ),
            markup=False,
        )
    for note in plan.notes:
        out.print(plain(note), markup=False)


def _at_once(plan: Any) -> str:
    """What several workers could save, where that is a tenth or more."""
    if plan.chain_seconds > 0.9 * plan.seconds:
        return ""
    return f" (what waits for each other {duration(plan.chain_seconds)}, the rest by --jobs)"


def show_full_size(plan: Any) -> None:
    """Print what a recipe takes at full size, on devices that are not here."""
    out = console()
    numbers = {name: name.partition("x")[0] for name in plan.devices}
    numbers = {name: n for n, name in {n: name for name, n in numbers.items()}.items()}
    rows = [
        (
            f"{one.phase} ({one.variant}: {', '.join(one.arms)})",
            one.model,
            f"{one.steps:,}",
            f"{one.tokens:,.0f}",
            f"{one.trained_tokens:,.0f}",
            ("≤ " if one.is_bound else "") + f"{one.trainable_parameters:,}",
            *(
                size(held) + (" !" if held > plan.devices[name] else "")
                for name, held in one.memory_bytes.items()
            ),
            *(_hours(one.hours[name]) for name in numbers),
            str(one.seeds),
        )
        for one in plan.phases
    ]
    columns = (
        *("phase (variant: arms)", "model", ">steps", ">tokens", ">trained", ">trainable"),
        *(f">each of {name}" for name in plan.devices),
        *(f">GPU-hours on {number}" for number in numbers.values()),
        ">seeds",
    )
    out.width = max(out.width, FILE_WIDTH + 60)
    out.print(table("Planned from recorded facts; nothing is downloaded", columns, rows))
    for name in plan.devices:
        too_much = sum(one.memory_bytes[name] > plan.devices[name] for one in plan.phases)
        fits = f"{too_much} phase(s) do not fit (!)" if too_much else "every phase fits"
        out.print(plain(f"{name}: {_hours(plan.hours(name))} GPU-hours in all; {fits}"))
    out.print(
        f"scoring {plan.checkpoints} checkpoints {_hours(plan.scoring_hours)} of them, writing "
        f"corpora {_hours(plan.writing_hours)}; disk {size(plan.disk_bytes)} for all models that "
        f"stay, download {size(plan.download_bytes)} of weights"
    )
    for note in plan.notes:
        out.print(plain(note), markup=False)


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours < 100 else f"{hours:,.0f}"


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


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def show_data_report(source: str, found: Any) -> None:
    """Print the faults of a source and what it holds."""
    out = console()
    for fault in found.faults:
        out.print(plain(str(fault)), markup=False)
    facts = {
        "examples": found.num_examples,
        "splits": _counts(found.splits),
        "formats": _counts(found.formats),
        "labels": _counts(found.labels),
        "characters": _counts(found.characters),
        "tokens": _counts(found.tokens),
        "trained tokens": found.num_trained_tokens or "",
        "tokens per word": _number(found.tokens_per_word),
        "languages": ", ".join(f"{name} {part:.0%}" for name, part in found.languages.items()),
        "licences": "; ".join(found.licences),
        "faults": len(found.faults),
    }
    for name, value in facts.items():
        if value != "":
            out.print(plain(f"{name:16} {value}"), markup=False)


def _counts(counts: Mapping[Any, int]) -> str:
    """Counts by name; the names of quantiles are fractions.

    >>> _counts({"train": 3, "": 1})
    'train 3, (not named) 1'
    """
    named = ((f"{key:.0%}" if isinstance(key, float) else str(key), n) for key, n in counts.items())
    return ", ".join(f"{name or '(not named)'} {number}" for name, number in named)
