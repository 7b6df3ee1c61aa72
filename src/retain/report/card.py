"""The README of an exported model: how it scores, and what it is made from.

A model folder in the store is finished before it is scored, and what is finished is never written
to again; so the card there says how the model was made, and the copy that ``retain export`` makes
says the rest.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from retain.recipe.derive import apply
from retain.report.text import metric_name, one_line, task_name

Score = Mapping[str, str]
"""A row of scores.csv, or of during.csv."""

FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
STOP = re.compile(r"@[\d.]+%\Z")
"""How the name of a checkpoint inside a phase ends."""
MOST_SCORES = 200
"""Scores in the front matter; a harness's whole suite stays in scores.csv."""


def scored_card(
    readme: str, recipe: Mapping[str, Any], pointer: Mapping[str, Any], scores: Sequence[Score]
) -> str:
    """A model's card with its scores (``model-index``) and its lineage.

    Args:
        readme: The card in the store.
        recipe: The resolved recipe; only names and sources of its phases are told.
        pointer: What ``models/<name>.json`` says of the model.
        scores: Of the run, a checkpoint inside a phase under its own name (``arm@25%``); the
            model's own and those of row 0 are taken.
    """
    found = FRONT.match(readme)
    front = (yaml.safe_load(found[1]) if found else None) or {}
    body = readme[found.end() :] if found else readme
    name = f"{recipe['name']}-{pointer['arm']}"
    own = _of(scores, pointer, int(pointer["phase_index"]))
    before = {_place(row): row for row in _of(scores, pointer, 0)}
    results = [_result(row) for row in own if row["is_main"] == "true"][:MOST_SCORES]
    if results:
        front["model-index"] = [{"name": name, "results": results}]
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=88)
    parts = [f"---\n{head}---\n", body.rstrip(), "", *_lineage(recipe, pointer), ""]
    parts += [*_table(own, before), ""]
    return "\n".join(parts)


def _of(scores: Sequence[Score], pointer: Mapping[str, Any], phase_index: int) -> list[Score]:
    arm = str(pointer["arm"])
    arm = arm if phase_index else STOP.sub("", arm)
    return [
        row
        for row in scores
        if (row["variant"], int(row["seed"])) == (pointer["variant"], pointer["seed"])
        and int(row["phase_index"]) == phase_index
        and row["arm"] == arm
    ]


def _place(row: Score) -> tuple[str, str, str]:
    return row["task"], row["metric"], row["num_fewshot"]


def _result(row: Score) -> dict[str, Any]:
    shots = f"{row['num_fewshot']} shots, {row['num_items']} items"
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": task_name(row["task"]), "type": row["task"]},
        "metrics": [
            {
                "type": row["metric"],
                "value": float(row["value"]),
                "name": f"{metric_name(row['metric'])} ({shots})",
            }
        ],
    }


def _lineage(recipe: Mapping[str, Any], pointer: Mapping[str, Any]) -> Iterator[str]:
    """Base model, then each phase up to this model's."""
    yield "## Made from"
    yield ""
    varied = apply(recipe, (recipe.get("variants") or {}).get(pointer["variant"], {}))
    yield f"1. the base model, `{_shown(str(varied['model']))}`"
    phases = varied["phases"][: int(pointer["phase_index"])]
    for number, phase in enumerate(phases, start=2):
        data = ", ".join(_shown(one) for one in _sources(phase["data"]))
        objective = phase["train"]["objective"]
        yield f"{number}. phase `{_cell(phase['name'])}`: {objective} on `{data}`"
    part = STOP.search(str(pointer["arm"]))
    stopped = f"; stopped after {part[0][1:]} of the last phase" if part else ""
    yield ""
    yield (
        f"Arm `{_cell(str(pointer['arm']))}` of the run `{_cell(str(recipe['name']))}`, seed "
        f"{pointer['seed']}{stopped}. Licences of the model and of the data hold for what is made "
        "from them."
    )


def _sources(data: Any) -> list[str]:
    """The sources of a phase's data, which a variant may give in its short form."""
    listed = data if isinstance(data, list | tuple) else [data]
    return [str(one["source"] if isinstance(one, Mapping) else one) for one in listed]


def _table(own: Sequence[Score], before: Mapping[tuple[str, str, str], Score]) -> Iterator[str]:
    """Each main score beside that of the base model."""
    main = [row for row in own if row["is_main"] == "true"]
    if not main:
        return
    yield "## Scores"
    yield ""
    yield "| task | metric | shots | base model | this model | standard error | items |"
    yield "|---|---|---|---|---|---|---|"
    for row in main:
        base = before.get(_place(row), {}).get("value", "")
        better = "" if row["higher_is_better"] == "true" else ", lower is better"
        cells = (
            *(task_name(row["task"]), metric_name(row["metric"]) + better, row["num_fewshot"]),
            *(base, row["value"], row["stderr"], row["num_items"]),
        )
        yield f"| {' | '.join(map(_cell, cells))} |"
    yield ""
    yield "Scored by `retain` on items that had no part in choosing this model (`report` items)."


def _shown(reference: str) -> str:
    """A public name as it is, a path by its end."""
    remote = reference.startswith("embedded:") or (
        reference.count("/") == 1 and reference[0] not in "./~"
    )
    return _cell(reference if remote else reference.rstrip("/").rpartition("/")[2])


def _cell(text: str) -> str:
    """Text that breaks no table and no code span."""
    return one_line(text).replace("|", "/").replace("`", "'")
