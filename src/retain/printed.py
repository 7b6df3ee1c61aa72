"""Scores, plans and what is found in data, as they are printed."""

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from rich.console import Console

from retain.terminal import FILE_WIDTH, console, duration, plain, size, table


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
