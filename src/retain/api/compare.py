"""Two finished runs, arm by arm."""

from pathlib import Path

from retain.api.place import place_of
from retain.api.prepared import RUNS, Prepared, run_dir
from retain.api.report import collected, finished
from retain.errors import DataError


def compare(
    run_name: str, other: str, *, runs: str | Path = RUNS, output: str | Path | None = None
) -> str:
    """The arms of two runs on the items that both scored; the table as text.

    Args:
        run_name: A run, by its name or folder.
        other: What is subtracted from it.
        runs: The folder that holds runs and their steps.
        output: A file for the rows, as CSV.

    Raises:
        RetainError: If a run is not there or not finished, or nothing of the two can be paired.
    """
    from retain import terminal
    from retain.report.runs import Side, compare_runs, comparison_csv
    from retain.report.terminal import run_table
    from retain.steps.durable import write_file

    place = place_of(runs)
    folders = [run_dir(name, place) for name in (run_name, other)]
    if folders[0].resolve() == folders[1].resolve():
        raise DataError(f"{folders[0]}: the same run twice")
    sides = []
    for folder in folders:
        prepared = finished(folder, place)
        with place.reading():
            results = collected(prepared, folder).of_role("report")
        sides.append(Side(name=folder.name, results=results, models=_models(prepared)))
    found = compare_runs(*sides)
    if output is not None:
        write_file(Path(output), comparison_csv(found))
    lines = [run_table(found, sides[0].name, sides[1].name), *found.warnings, *found.refused]
    return terminal.plain("\n".join(lines))


def _models(prepared: Prepared) -> dict[str, str]:
    """Variant to the sha256 of its base model."""
    return {
        cell.variant: prepared.resolved.model(cell)["sha256"] for cell in prepared.resolved.cells
    }
