"""How a run came about, as its finished steps say: corpora, lineage, and what steps cost."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from retain.pipeline.graph import Graph
from retain.rehearse.written import CORPUS, FACTS, written_of
from retain.report.facts import Corpus, Cost, Made
from retain.steps.step import Step
from retain.steps.store import Store

NUM_SAMPLES = 3
MOST_CHARACTERS = 600
"""Of a document that is shown."""

DIVERSITY = {
    "distinct_1": "distinct-1: different words of all",
    "distinct_2": "distinct-2: different pairs of words",
    "distinct_3": "distinct-3: different triples of words",
    "self_bleu": "self-BLEU of a sample (1: all alike)",
    "mean_similarity": "mean similarity of two documents",
}
"""Measures of a corpus and what the page calls them."""


def corpora(graph: Graph, store: Store) -> Iterator[Corpus]:
    """Each corpus that a model wrote, as it was mixed in."""
    for sift in graph.steps:
        if sift.kind != "sift":
            continue
        written = sift.inputs["written"]
        facts = _read(store.open(written, FACTS))
        kept = _read(store.open(sift, "facts.json"))
        removed = [
            (role, why, number)
            for role, counts in facts["removed"].items()
            for why, number in counts.items()
        ]
        removed += [("document", why, n) for why, n in kept["removed"].items() if n]
        found = facts["diversity"]
        yield Corpus(
            name=written.name,
            step=written.folder,
            num_documents=kept["num_documents"],
            num_tokens=facts["num_tokens"],
            tokens_written=facts["tokens_written"],
            removed=tuple(removed),
            diversity=tuple(
                (told, float(found[name]))
                for name, told in DIVERSITY.items()
                if found.get(name) is not None
            ),
            samples=tuple(_samples(store.open(written, CORPUS))),
            removed_samples=tuple(
                (str(why), str(text)[:MOST_CHARACTERS])
                for why, text in facts.get("removed_samples", ())[:NUM_SAMPLES]
            ),
        )


def _samples(path: Path) -> Iterator[str]:
    """The first documents, whole: what was asked and what the model wrote."""
    with path.open(encoding="utf-8") as lines:
        for line in islice(lines, NUM_SAMPLES):
            row = json.loads(line)
            turns = [f"{turn['role']}: {turn['content']}" for turn in row.get("messages") or ()]
            yield ("\n".join(turns) or written_of(row))[:MOST_CHARACTERS]


def lineage(graph: Graph) -> Iterator[Made]:
    """What each model of the run was made from."""
    for row in graph.rows:
        if row.train is None or row.model is None or row.mix is None:
            continue
        start = row.train.inputs.get("model")
        yield Made(
            variant=row.variant,
            arm=row.arm,
            seed=row.seed,
            phase_index=row.phase_index,
            phase=row.phase,
            model=row.model.folder,
            start="" if start is None else start.folder,
            data=tuple(_data(row.mix)),
        )


def _data(mix: Step) -> Iterator[str]:
    """The steps whose examples a mix draws from."""
    for step in mix.inputs.values():
        yield step.folder


def costs(graph: Graph, store: Store) -> Iterator[Cost]:
    """Seconds of each kind of step, whenever it was done; shared steps count once."""
    seconds: dict[str, list[float]] = {}
    for step in graph.steps:
        seconds.setdefault(step.kind, []).append(float(store.record(step)["seconds"]))
    for kind, each in seconds.items():
        yield Cost(kind=kind, num_steps=len(each), seconds=sum(each))


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
