"""The models a run keeps: which, where, and the links that point to them."""

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retain.api.prepared import Prepared
from retain.errors import StoreError
from retain.execute import run_folder
from retain.pipeline.graph import Row
from retain.steps.durable import make_folder, write_file, write_link, writing

if TYPE_CHECKING:
    from retain.report.results import Checkpoint
    from retain.report.verdict import Verdict


def model_paths(prepared: Prepared) -> "dict[Checkpoint, str]":
    """Where the model of every row lies: among the kept ones, else in the store."""
    from retain.report.collect import checkpoint

    folder = run_folder(prepared.runs, prepared.resolved.recipe.name)
    return {
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
    several = "" if len({r.variant for r in rows}) == 1 else f"{row.variant}-"
    return f"{several}{row.arm}-seed{row.seed}-{row.phase}"


def point_to_models(prepared: Prepared, folder: Path, verdicts: "Sequence[Verdict]") -> None:
    """``models/<arm>-seed<k>-<phase>``: a link to each kept model folder, and a JSON beside it."""
    only_chosen = prepared.resolved.recipe.keep.models == "chosen"
    chosen = {(one.variant, one.arm, one.seed) for one in verdicts}
    target = folder / "models"
    with writing(folder):
        make_folder(target)
    wanted: dict[str, dict[str, Any]] = {}
    for row in prepared.graph.rows:
        name = _kept_name(prepared, row)
        if row.model is None or not name:
            continue
        if only_chosen and (row.variant, row.arm, row.seed) not in chosen:
            continue
        path = prepared.store.path(row.model) / "model"
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
