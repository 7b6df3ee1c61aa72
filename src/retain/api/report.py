"""Writing what a finished run says: for its owner, and for others."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from retain.api.lost import can_go_on, cut, failures, without_gates
from retain.api.models import model_paths, point_to_models
from retain.api.place import JOURNAL, RESOLVED, Place, place_and_folder
from retain.api.prepared import Prepared, prepare
from retain.errors import RetainError, StoreError
from retain.steps.step import Step

if TYPE_CHECKING:
    from retain.report.results import Results
    from retain.report.verdict import Verdict

SHARE = "share"
"""Folder, inside a run's, of what may be shown to others."""


def report(run_dir: str | Path, *, share: bool = False) -> Path:
    """Write the report of a finished run again; where it is.

    A run in which arms failed is written without them, as `run` left it.

    Args:
        run_dir: The folder of the run, or its address as s3://bucket/prefix/NAME.
        share: Write aggregates alone, into the folder ``share`` of the run: no text of an item,
            no path, no name of a user or machine.

    Raises:
        RetainError: If the folder holds no run, or steps of it are missing; or if something that
            is to be shared holds the user's or machine's name.
    """
    place, folder = place_and_folder(run_dir)
    prepared = finished(folder, place)
    with place.own(folder, lambda text: None):
        with place.reading():
            written = _write_again(prepared, folder, share=share)
        place.send(folder, prepared.graph.steps)
    return written


def _write_again(prepared: Prepared, folder: Path, *, share: bool) -> Path:
    if not share:
        write_reports(prepared, folder, {}, show=False)
        return folder / "report.html"
    from retain.report.report import write_report
    from retain.report.share import shareable

    write_report(shareable(collected(prepared, folder), is_public), folder / SHARE)
    return folder / SHARE / "report.html"


def finished(folder: Path, place: Place) -> Prepared:
    """The recipe of a run whose steps are all finished, but for those of arms that failed.

    Raises:
        StoreError: If the folder holds no run, or steps of it are missing.
    """
    if not (folder / RESOLVED).is_file():
        raise StoreError(f"{folder}: holds no {RESOLVED}; give the folder of a run, runs/<name>")
    prepared = prepare(folder / RESOLVED, (), place, None)
    failed = failures(prepared, folder / JOURNAL)
    if failed and can_go_on(prepared.graph, failed):
        prepared = cut(prepared, failed)
    missing = [step.folder for step in prepared.graph.steps if not prepared.store.finished(step)]
    if missing:
        raise StoreError(
            f"{folder}: {len(missing)} steps are not finished ({missing[0]}, …); "
            f"`retain run {shlex.quote(str(folder / RESOLVED))}` finishes them"
        )
    return prepared


def collected(prepared: Prepared, folder: Path) -> "Results":
    """Everything that a finished run measured, and which arms are not there."""
    from retain.report.collect import arm_of, collect
    from retain.report.results import LostArm

    results = collect(
        prepared.resolved,
        prepared.graph,
        prepared.store,
        run_folder=str(folder),
        command=prepared.command,
        models=model_paths(prepared),
    )
    lost = tuple(LostArm(arm=arm_of(one.cell), reason=one.reason) for one in prepared.lost)
    recipe = without_gates(results.recipe, {one.arm.name for one in lost})
    return replace(results, recipe=recipe, lost=lost) if lost else results


def write_reports(
    prepared: Prepared, folder: Path, failed: Mapping[Step, RetainError], *, show: bool
) -> "tuple[tuple[Verdict, ...], tuple[str, ...]]":
    """Point to the kept models, collect the results, write every file of the run.

    Arms that need a step that failed are left out, and every page says so.
    """
    from retain.report.report import write_report

    if failed:
        prepared = cut(prepared, failed)
    results = collected(prepared, folder)
    found = write_report(results, folder)
    point_to_models(prepared, folder, found.verdicts)
    if show:
        from retain import terminal
        from retain.report.terminal import show_analysis

        show_analysis(found)
        for note in results.notes:
            terminal.say(note)
    return found.verdicts, tuple(gate.message for gate in found.failed)


def is_public(reference: str) -> bool:
    """Whether anyone may get what a recipe calls so: an embedded name, or a hub id.

    >>> is_public("embedded:hindi-prose"), is_public("my/own/file.jsonl"), is_public("org/set")
    (True, False, True)
    """
    from retain.data.files import READERS
    from retain.model.reference import HUB_ID

    name = reference.partition("#")[0].removeprefix("hub:")
    if name.startswith("embedded:"):
        return True
    path = Path(name).expanduser()
    is_here = path.exists() or path.suffix.lower() in (*READERS, ".gguf")
    return "/" in name and not is_here and HUB_ID.fullmatch(name) is not None
