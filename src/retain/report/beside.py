"""What finished steps say beside scores: probes, verdicts of a judge, brief retunes."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retain.evaluate.judge import JUDGED
from retain.evaluate.probes import PROBE
from retain.evaluate.shots import Shots
from retain.pipeline.graph import Graph
from retain.pipeline.recovery_steps import Retune
from retain.report.facts import Judged, ProbeFacts, Retuned, Said, Verdicts
from retain.report.scores import Checkpoint, ItemKey, Items, ScoreRow, checkpoint
from retain.report.stored_items import stored_items
from retain.steps.store import Store


def probes(graph: Graph, store: Store) -> Iterator[ProbeFacts]:
    """What probes found inside checkpoints."""
    for row in graph.rows:
        for name, step in row.probes.items():
            content = _read(store.open(step, PROBE))
            yield ProbeFacts(
                checkpoint=checkpoint(row), phase=row.phase, probe=name, content=content
            )


def judged(graph: Graph, store: Store) -> Iterator[Judged]:
    """What a judge found of the answers of checkpoints, without texts."""
    for row in graph.rows:
        for (mode, task), step in row.judged.items():
            content = _read(store.open(step, JUDGED))
            yield Judged(
                checkpoint=checkpoint(row),
                phase=row.phase,
                task=task,
                mode=mode,
                judge=content["judge"],
                found={
                    one["item"]: Verdicts(one["source_item"], one["found"])
                    for one in content["items"]
                },
                num_unreadable=content["num_unreadable"],
                num_cut=content["num_cut"],
                said={one["item"]: _said(one) for one in content["items"]},
            )


def _said(one: Mapping[str, Any]) -> Said:
    return Said(one["asked"], one["answer"], one["rival"] or "", tuple(one["said"]))


def retuned(graph: Graph, store: Store) -> Iterator[Retuned]:
    """What brief retunes scored."""
    for one in graph.retunes:
        scores = [
            row
            for row in _read(store.open(one.evaluation, "scores.json"))
            if row["role"] == "report" and row["is_main"] and row["value"] is not None
        ]
        main = min(scores, key=lambda row: row["num_fewshot"], default=None)
        if main is not None:
            yield _retuned(one, main, store)


def draws(graph: Graph, store: Store) -> dict[Shots, dict[ItemKey, Items]]:
    """The items that were scored with other examples in the prompt."""
    found: dict[Shots, dict[ItemKey, Items]] = {}
    for row in graph.rows:
        for shots, steps in row.draws.items():
            for step in steps.values():
                found.setdefault(shots, {}).update(stored_items(checkpoint(row), step, store))
    return found


def _retuned(one: Retune, main: dict[str, Any], store: Store) -> Retuned:
    where = Checkpoint(one.variant, one.arm, one.seed, one.phase_index)
    score = ScoreRow(
        **where._asdict(),
        phase=one.planned.name,
        **{key: value for key, value in main.items() if key != "aggregation"},
    )
    items = stored_items(where, one.evaluation, store).get(ItemKey(where, score.key))
    return Retuned(
        checkpoint=where,
        phase=one.planned.phase.name,
        reference_index=one.reference_index,
        what=one.what,
        max_steps=one.planned.train.max_steps or 0,
        score=score,
        items=None if items is None else items.of_role("report"),
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
