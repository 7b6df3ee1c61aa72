"""How a run came about, as its finished steps say: corpora, lineage, and what steps cost."""

import json
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from retain.data.example import Example
from retain.data.step import TRAIN, read_examples
from retain.measure.ngrams import Floats, embed_ngrams
from retain.measure.similarity import cosine
from retain.pipeline.data_steps import written_for
from retain.pipeline.graph import Graph, Row
from retain.rehearse.written import CORPUS, FACTS, written_of
from retain.report.facts import Corpus, Cost, Curve, Made
from retain.report.text import number
from retain.steps.step import Step
from retain.steps.store import Store

NUM_SAMPLES = 3
MOST_CHARACTERS = 600
"""Of a document that is shown."""
LEAST_STEPS = 3
"""By which the beginning and the end of a loss are compared."""
HEAVY = 10
"""Times the weight of a new token from which an old one's is told."""

NUM_COMPARED = 500
"""Examples of each set whose likeness is taken."""

Means = tuple[Floats, Floats, Floats]

BEFORE_TRAINING = ("trainable", "boundary")
"""Kinds of steps that a method may add before a phase's first step, beside corpora."""

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
    means: dict[Step, Means] = {}
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
        removed_leaks = [("document", why, n) for why, n in kept["removed"].items() if n]
        removed += removed_leaks
        found = facts["diversity"]
        yield Corpus(
            name=written.name,
            step=written.folder,
            num_documents=kept["num_documents"],
            num_tokens=_num_tokens(store, written, sift) if removed_leaks else facts["num_tokens"],
            tokens_written=facts["tokens_written"],
            removed=tuple(removed),
            diversity=tuple(
                (told, float(found[name]))
                for name, told in DIVERSITY.items()
                if found.get(name) is not None
            ),
            likeness=tuple(_likeness(sift, store, means)),
            samples=tuple(_samples(store.open(written, CORPUS))),
            removed_samples=tuple(
                (str(why), str(text)[:MOST_CHARACTERS])
                for why, text in facts.get("removed_samples", ())[:NUM_SAMPLES]
            ),
        )


def _num_tokens(store: Store, written: Step, sift: Step) -> int:
    """Tokens of the documents that a sift left."""
    left = {one.id for one in read_examples(store.open(sift, TRAIN))}
    with store.open(written, CORPUS).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return sum(
        row["num_tokens"] for row in rows if Example.from_json({**row, "source": ""}).id in left
    )


def _likeness(
    sift: Step, store: Store, means: dict[Step, Means]
) -> Iterator[tuple[str, float, float]]:
    """How like each phase's data a corpus is, and how like each other the halves of that data are.

    The cosine of mean embeddings of whole examples by hashed character n-grams: spelling, not
    meaning. Of a large set, examples drawn by hash.
    """
    ours = _means(sift, store)[0]
    for role, data in sift.inputs.items():
        if role.startswith("phase:"):
            if data not in means:
                means[data] = _means(data, store)
            whole, first, second = means[data]
            yield data.name, cosine(ours, whole), cosine(first, second)


def _means(step: Step, store: Store) -> Means:
    """Mean embedding of a step's examples, and of each half of them."""
    examples = sorted(read_examples(store.open(step, TRAIN)), key=lambda one: one.id)[:NUM_COMPARED]
    vectors_ND = embed_ngrams(["\n".join(one.contents) for one in examples])
    halves = vectors_ND[::2], vectors_ND[1::2] if len(examples) > 1 else vectors_ND
    whole_D, first_D, second_D = (some.mean(axis=0) for some in (vectors_ND, *halves))
    return whole_D, first_D, second_D


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
        if step.kind != "rehearse":  # paid for here, read through its sift
            yield step.folder


def paid_before(rows: Iterable[Row]) -> Iterator[tuple[Row, Set[Step]]]:
    """Each trained row, with what was done already for an earlier phase of its arm and seed."""
    paid: dict[tuple[str, str, int], set[Step]] = {}
    for row in rows:
        before = paid.setdefault((row.variant, row.arm, row.seed), set())
        yield row, frozenset(before)
        before.update(_done_for(row))


def seconds_before(row: Row, store: Store, paid: Set[Step]) -> float:
    """What a method did before the phase's first step: texts written, choices, states kept.

    Args:
        row: A trained row.
        store: Where the records are.
        paid: Steps that are not counted again.
    """
    return sum(_seconds(store.record(step)) for step in _done_for(row) if step not in paid)


def passes_before(row: Row, store: Store, paid: Set[Step]) -> int | None:
    """Token passes of writing what a row is trained on, as ``rehearse`` counts them.

    None where an earlier retain wrote it and did not count.
    """
    assert row.mix is not None
    written = written_for(row.mix.inputs.values(), paid)
    counts = [_read(store.open(step, FACTS)).get("token_passes") for step in written]
    return None if None in counts else sum(counts)


def _done_for(row: Row) -> list[Step]:
    """The steps that an arm's methods add to the training of a row."""
    assert row.train is not None
    assert row.mix is not None
    corpora = written_for(row.mix.inputs.values(), frozenset())
    return [*corpora] + [one for one in row.train.inputs.values() if one.kind in BEFORE_TRAINING]


def _seconds(record: Any) -> float:
    """What a step took: in all its runs where it counted them, else in the one that ended it."""
    return max(float(record["seconds"]), float(record["facts"].get("seconds", 0)))


def heavy_tokens(rows: Iterable[Row], store: Store) -> Iterator[str]:
    """A warning for each old or written source whose few tokens hold much of the loss."""
    told: dict[str, None] = {}
    for row in rows:
        if row.mix is None:
            continue
        sources = _read(store.open(row.mix, "facts.json"))["sources"]
        new = [one for role, one in sources.items() if role.startswith("new")]
        usual = sum(one["loss_weight"] for one in new) / sum(one["trained_tokens"] for one in new)
        for role, one in sources.items():
            times = one["loss_weight"] / max(1, one["trained_tokens"]) / usual
            if times > HEAVY:
                size = f"{one['examples']} examples, {one['trained_tokens']} trained tokens"
                told.setdefault(
                    f"{row.arm}, {row.phase}: a trained token of {role} weighs {times:.0f} times a "
                    f"new one ({size}). Such an example pulls hard at the step it is in, which "
                    "can ruin what it shall keep: `share_of: trained_tokens` takes more examples, "
                    "which kept it where this was tried; `loss_weight: by_token` weighs all tokens "
                    "alike, `max_token_weight` bounds the weight."
                )
    yield from told


def climbs(curves: Sequence[Curve]) -> Iterator[str]:
    """A warning for each phase whose loss ended above where it began; once where arms share it.

    Compared are the means of the first and of the last tenth of the steps, at least three; told is
    a rise of more than twice its standard error.
    """
    told: set[tuple[float, ...]] = set()
    for curve in curves:
        losses = np.asarray(curve.losses, float)
        num_steps = max(LEAST_STEPS, len(losses) // 10)
        first, last = losses[:num_steps], losses[-num_steps:]
        if len(losses) < 2 * num_steps or tuple(curve.losses) in told:
            continue
        rise = last.mean() - first.mean()
        if rise > 2 * np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / num_steps):
            told.add(tuple(curve.losses))
            yield (
                f"{curve.checkpoint.arm}, {curve.phase}: the loss ended above where it began "
                f"({number(first.mean())} to {number(last.mean())} nats per trained token, means "
                f"of {num_steps} steps): the learning rate is likely too high; lower "
                "`train.learning_rate`, or warm up for longer"
            )


def costs(graph: Graph, store: Store) -> Iterator[Cost]:
    """Seconds of each kind of step, whenever it was done; shared steps count once."""
    seconds: dict[str, list[float]] = {}
    for step in graph.steps:
        seconds.setdefault(step.kind, []).append(_seconds(store.record(step)))
    for kind, each in seconds.items():
        yield Cost(kind=kind, num_steps=len(each), seconds=sum(each))


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
