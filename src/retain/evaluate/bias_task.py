"""StereoSet: three continuations of a context, and which of them the model finds likelier.

Source: Nadeem, Bethke and Reddy, "StereoSet", ACL 2021, https://arxiv.org/abs/2004.09456; the
development set. A sentence is scored by its mean log-probability per token, as there for decoders.
Departure: between sentences, theirs trains a head for the next sentence; here it is the mean
log-probability of the sentence after its context, which needs no training.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from retain.data.embedded import load_embedded
from retain.decode.prefix_tree import Answer, Request
from retain.evaluate.engine import Engine
from retain.evaluate.items import divide, document_key, limit_notes
from retain.evaluate.task import Metric, Outcome, Question, Reply
from retain.measure.bias import Bias, prefers_sense, prefers_stereotype, stereoset

NAME = "embedded_stereoset"
DATA = "stereoset"
BIAS_TYPES = ("gender", "profession", "race", "religion")
ICAT, LMS, SS = "icat", "lms", "ss"
METRICS = (
    Metric(ICAT, True, "points", True, "corpus"),
    Metric(LMS, True, "points", False, "corpus"),
    Metric(SS, False, "points", False, "corpus"),
    *(Metric(f"{SS}_{kind}", False, "points", False, "corpus") for kind in BIAS_TYPES),
)
NEUTRAL = "ss 50 is neutral, 100 always the stereotype; 40 is as far from neutral as 60"


class StereoSet:
    """The development set of StereoSet, asked of one model.

    Args:
        engine: The model that is asked.
        limit: Score only the first so many of the fixed order.
    """

    name = NAME

    def __init__(self, engine: Engine, limit: int | None = None) -> None:
        self.engine = engine
        self.documents = documents()
        keys = [document_key(document) for document in self.documents]
        targets = [document["item"] for document in self.documents]
        division = divide(keys, targets, keep_pool=False, limit=limit)
        self.items = division.items
        self.notes = [NEUTRAL, *limit_notes(limit, division.num_available)]

    def shots(self, wanted: Sequence[int] | None) -> list[int]:
        """None: sentences are compared as they stand."""
        return [0]

    def questions(self, num_fewshot: int) -> list[Question]:
        """Three continuations for each item: of nothing, or of the sentence before."""
        chosen = [self.documents[item.index] for item in self.items]
        pairs = self.engine.encoder.pairs(
            [pair for document in chosen for pair in continuations(document)]
        )
        asked = []
        for number, (item, document) in enumerate(zip(self.items, chosen, strict=True)):
            calls = [
                Request(*pair, f"{NAME}, item {item.key[:16]}")
                for pair in pairs[3 * number : 3 * number + 3]
            ]
            asked.append(Question(item, num_fewshot, [*calls], document["context"], document))
        return asked

    def outcomes(
        self, questions: Sequence[Question], replies: Sequence[Sequence[Reply]]
    ) -> list[Outcome]:
        """Of each item, the mean log-probability per token of its three continuations."""
        return [
            _outcome(question, replied)
            for question, replied in zip(questions, replies, strict=True)
        ]

    def metrics(self, outcomes: Sequence[Outcome]) -> list[Metric]:
        """ICAT, LMS and SS, and SS of every type of bias that is there."""
        names = {name for outcome in outcomes for name in outcome.raw}
        return [metric for metric in METRICS if metric.name in names]

    def aggregate(self, metric: Metric, outcomes: Sequence[Outcome]) -> float:
        """As published, over the items that have the metric."""
        found = scores([outcome.raw[metric.name] for outcome in outcomes])
        return {ICAT: found.icat, LMS: found.language}.get(metric.name, found.stereotype)


@cache
def documents() -> list[dict[str, Any]]:
    """The items of the set, each once."""
    return list({document_key(row): row for row in load_embedded(DATA)}.values())


def continuations(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Context and continuation, three times; a sentence with a gap is scored whole."""
    if document["type"] == "intrasentence":
        return [("", choice) for choice in document["choices"]]
    return [(document["context"].rstrip(), f" {choice}") for choice in document["choices"]]


def scores(raw: Sequence[tuple[str, Sequence[float]]]) -> Bias:
    """The three scores of (target, per-token log-probabilities) of some items."""
    return stereoset(
        np.array([score_3 for _, score_3 in raw], dtype=np.float64).reshape(-1, 3),
        [target for target, _ in raw],
    )


def _outcome(question: Question, replied: Sequence[Reply]) -> Outcome:
    document = question.document
    logprobs = [reply.loglikelihood for reply in replied if isinstance(reply, Answer)]
    num_tokens = [len(call.continuation) for call in question.calls if isinstance(call, Request)]
    score_3 = [nats / num for nats, num in zip(logprobs, num_tokens, strict=True)]
    score_13 = np.array([score_3])
    raw = (document["target"], score_3)
    return Outcome(
        metrics={
            "prefers_stereotype": float(prefers_stereotype(score_13)[0]),
            "prefers_sense": float(prefers_sense(score_13)[0]),
        },
        raw=dict.fromkeys((ICAT, LMS, SS, f"{SS}_{document['bias_type']}"), raw),
        prediction=document["choices"][int(score_13.argmax())],
        choice_logprobs=logprobs,
        choice_bytes=[len(choice.encode()) for choice in document["choices"]],
    )
