"""The models a run keeps: which, where, and the links that point to them."""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retain.api.prepared import Prepared
from retain.errors import StoreError
from retain.execute import run_folder
from retain.pipeline.graph import Row
from retain.steps.durable import make_folder, write_file, write_link, writing

if TYPE_CHECKING:
    from retain.report.scores import Checkpoint
    from retain.report.verdict import Verdict


def model_paths(prepared: Prepared) -> "dict[Checkpoint, str]":
    """Where the model of every row lies: among the kept ones, else in the store."""
    from retain.report.scores import checkpoint

    folder = run_folder(prepared.runs, prepared.resolved.recipe.name)
    stops = {
        checkpoint(row)._replace(arm=stop.arm): str(folder / "models" / _name(prepared, stop))
        for row in prepared.graph.rows
        for stop, _ in _stops(row)
    }
    return stops | {
        checkpoint(row): str(folder / "models" / name)
        if (name := _kept_name(prepared, row))
        else str(prepared.store.path(row.model) / "model")
        for row in prepared.graph.rows
        if row.model is not None
    }


def _kept_name(prepared: Prepared, row: Row) -> str:
    """The name of a row's model in ``models/``; "" for an earlier phase that has none."""
    cell = (row.variant, row.arm, row.seed)
    rows = prepared.graph.rows
    last = max(r.phase_index for r in rows if (r.variant, r.arm, r.seed) == cell)
    if prepared.resolved.recipe.keep.models != "all" and row.phase_index != last:
        return ""
    return _name(prepared, row)


def _name(prepared: Prepared, row: Row) -> str:
    several = len({one.variant for one in prepared.graph.rows}) > 1
    before = f"{row.variant}-" if several else ""
    return f"{before}{row.arm}-seed{row.seed}-{row.phase}"


def _stops(row: Row) -> Iterator[tuple[Row, str]]:
    """A row's checkpoints inside its phase, each as an arm, and where in the train step it lies."""
    from retain.report.collect import part_of_phase
    from retain.report.scores import stop_name
    from retain.train.checkpoints import folder_of

    for place in range(1, len(row.inside) + 1):
        part = part_of_phase(place, len(row.inside))
        yield replace(row, arm=stop_name(row.arm, part), model=row.train), folder_of(place)


def point_to_models(prepared: Prepared, folder: Path, verdicts: "Sequence[Verdict]") -> None:
    """``models/<arm>-seed<k>-<phase>``: a link to each kept model folder, and a JSON beside it.

    A checkpoint inside a phase (``<arm>@25%-seed<k>-<phase>``) is there if it was chosen, or if all
    models are.
    """
    keep = prepared.resolved.recipe.keep.models
    chosen = {(one.variant, one.arm, one.seed) for one in verdicts}
    target = folder / "models"
    with writing(folder):
        make_folder(target)
    wanted: dict[str, dict[str, Any]] = {}
    kept = [(row, "model", keep == "chosen") for row in prepared.graph.rows]
    last = max(row.phase_index for row in prepared.graph.rows)
    for row in prepared.graph.rows:
        if row.phase_index == last or keep == "all":
            kept += [(stop, place, keep != "all") for stop, place in _stops(row)]
    for row, place, only_chosen in kept:
        name = _name(prepared, row) if place != "model" else _kept_name(prepared, row)
        if row.model is None or not name:
            continue
        if only_chosen and (row.variant, row.arm, row.seed) not in chosen:
            continue
        path = prepared.store.path(row.model) / place
        wanted[name] = {
            "arm": row.arm,
            "seed": row.seed,
            "phase": row.phase,
            "phase_index": row.phase_index,
            "variant": row.variant,
            "folder": os.path.relpath(path, target),
        }
    with writing(target):
        for old in target.iterdir():
            is_ours = old.is_symlink() or old.suffix == ".json"
            if is_ours and old.name.removesuffix(".json") not in wanted:
                old.unlink()
        for name, one in wanted.items():
            write_file(target / f"{name}.json", json.dumps(one, indent=1) + "\n")
            _link(target / name, one["folder"])


def _link(link: Path, folder: str) -> None:
    """A symbolic link, replaced at once; none where the disk knows no links (the JSON points too).

    Raises:
        StoreError: If something else has its name.
    """
    if link.exists() and not link.is_symlink():
        raise StoreError(f"{link}: is in the way of a link to {folder}; move it away")
    try:
        write_link(link, folder)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
