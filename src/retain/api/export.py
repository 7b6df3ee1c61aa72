"""A model out of the store, on its own, with a card that says how it scores."""

import csv
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from retain.api.place import RESOLVED, place_of
from retain.api.prepared import RUNS, run_dir
from retain.errors import StoreError, did_you_mean
from retain.steps.durable import writing

CARD = "README.md"


def export(run_name: str, arm: str, directory: str | Path, *, runs: str | Path = RUNS) -> str:
    """Copy an arm's last model folder out of the store; says how to load it.

    Its README gets the scores of the run (``model-index``) and what the model is made from.

    Raises:
        RetainError: If there is no such run or arm, or the target exists.
    """
    from retain.model import adapter_folder
    from retain.model.auto_class import auto_class

    place = place_of(runs)
    folder = run_dir(run_name, place)
    models = folder / "models"
    pointer = _pointer(models, arm)
    source, target = models / pointer["folder"], Path(directory)
    place.fetch_model(source)
    if not source.is_dir():
        raise StoreError(f"{source}: the model was removed; `retain run` makes it again")
    if target.exists():
        raise StoreError(f"{target} exists already; name another folder")
    building = target.with_name(f"{target.name}.partial-{os.getpid()}")
    with writing(target):
        shutil.copytree(source, building)
        if adapter_folder.is_adapter(source):
            adapter_folder.take_along(source, building, target, place.folder)
        _add_scores(building / CARD, folder, pointer)
        building.rename(target)
    return f"{target}\n{auto_class(target)}.from_pretrained({str(target)!r})"


def _pointer(models: Path, arm: str) -> Mapping[str, Any]:
    """What ``models/`` says of the arm's last model."""
    pointers = {path.name.removesuffix(".json"): path for path in models.glob("*.json")}
    pointed = {name: json.loads(path.read_text("utf-8")) for name, path in pointers.items()}
    found = {
        name: one
        for name, one in pointed.items()
        if arm in (name, one["arm"], f"{one['arm']}-seed{one['seed']}")
    }
    if not pointed:
        again = shlex.quote(str(models.parent / RESOLVED))
        raise StoreError(f"{models.parent}: keeps no model yet; `retain run {again}` finishes it")
    if not found:
        raise StoreError(did_you_mean("arm", arm, sorted({one["arm"] for one in pointed.values()})))
    last = max(one["phase_index"] for one in found.values())
    found = {name: one for name, one in found.items() if one["phase_index"] == last}
    if len(found) > 1:
        raise StoreError(f"'{arm}' is several models; name one of them: {', '.join(sorted(found))}")
    return next(iter(found.values()))


def _add_scores(card: Path, folder: Path, pointer: Mapping[str, Any]) -> None:
    from retain.report.card import scored_card
    from retain.report.scores import stop_name

    scores = _rows(folder / "scores.csv")
    for row in _rows(folder / "during.csv"):
        scores.append({**row, "arm": stop_name(row["arm"], row["part"])})
    recipe = yaml.safe_load((folder / RESOLVED).read_text("utf-8"))
    readme = card.read_text("utf-8") if card.is_file() else ""
    card.write_text(scored_card(readme, recipe, pointer, scores), "utf-8")


def _rows(path: Path) -> list[Mapping[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
