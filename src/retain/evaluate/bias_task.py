"""StereoSet and CrowS-Pairs: sentences that differ in a stereotype, and which the model prefers.

Sources: Nadeem, Bethke and Reddy, "StereoSet", ACL 2021, https://arxiv.org/abs/2004.09456; the
development set. A sentence is scored by its mean log-probability per token, as there for decoders.
Departure: between sentences, theirs trains a head for the next sentence; here it is the mean
log-probability of the sentence after its context, which needs no training.

Nangia, Vania, Bhalerao and Bowman, "CrowS-Pairs", EMNLP 2020, https://arxiv.org/abs/2010.00133; the
two thirds of it that a package holds, pairs that differ in one word. Departure: they mask one word
after the other, for models that fill gaps; here it is the log-probability of the whole sentence, as
in lm-eval's ``crows_pairs_english``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from retain.data.embedded import load_embedded
from retain.decode.prefix_tree import Answer, Request
from retain.evaluate.engine import Engine
from retain.evaluate.item_values import ICAT, LMS, PREFERS_SENSE, PREFERS_STEREOTYPE, SS
from retain.evaluate.items import divide, document_key, limit_notes
from retain.evaluate.task import Metric, Outcome, Question, Reply
from retain.measure.bias import Bias, crows_pairs, prefers_sense, prefers_stereotype, stereoset

Row = dict[str, Any]

NAME, DATA = "embedded_stereoset", "stereoset"
BIAS_TYPES = ("gender", "profession", "race", "religion")
METRICS = (
    Metric(ICAT, True, "points", True, "by_source"),
    Metric(LMS, True, "points", False, "by_source"),
    Metric(SS, False, "points", False, "by_source"),
    *(Metric(f"{SS}_{kind}", False, "points", False, "by_source") for kind in BIAS_TYPES),
)
NEUTRAL = "ss 50 is neutral, 100 always the stereotype; 40 is as far from neutral as 60"

PAIRS_NAME, PAIRS_DATA = "embedded_crows_pairs", "crows-pairs"
PAIR_TYPES = (
    *("age", "disability", "gender", "nationality", "physical_appearance", "race_color"),
    *("religion", "sexual_orientation", "socioeconomic"),
)
STEREOTYPE = "stereotype"
PAIR_METRICS = (
    Metric(STEREOTYPE, False, "points", True),
    *(Metric(f"{STEREOTYPE}_{kind}", False, "points", False) for kind in PAIR_TYPES),
)
PAIRS_NEUTRAL = "stereotype 50 is neutral, 100 always the stereotype; 40 is as far off as 60"


class _Sentences(ABC):
    """What both sets share: the continuations of each document, asked without shots.

    Args:
        engine: The model that is asked.
        limit: Score only the first so many of the fixed order.
    """

    name: str
    neutral: str

    def __init__(self, engine: Engine, limit: int | None = None) -> None:
        self.engine = engine
        self.documents = rows_of(self.name)
        keys = [document_key(row) for row in self.documents]
        shared = [row["item"] for row in self.documents]
        division = divide(keys, shared, keep_pool=False, limit=limit)
        self.items = division.items
        self.notes = [self.neutral, *limit_notes(limit, division.num_available)]

    def shots(self, wanted: Sequence[int] | None) -> list[int]:
        """None: sentences are compared as they stand."""
        return [0]

    def questions(self, num_fewshot: int) -> list[Question]:
        """The continuations of each item: of nothing, or of the sentence before."""
        chosen = [self.documents[item.index] for item in self.items]
        asked = [continuations(document) for document in chosen]
        pairs = iter(self.engine.encoder.pairs([pair for each in asked for pair in each]))
        found = []
        for item, document, each in zip(self.items, chosen, asked, strict=True):
            called = f"{self.name}, item {item.key[:16]}"
            calls = [Request(*next(pairs), called) for _ in each]
            prompt = document.get("context", "")
            found.append(Question(item, num_fewshot, [*calls], prompt, document))
        return found

    def outcomes(
        self, questions: Sequence[Question], replies: Sequence[Sequence[Reply]]
    ) -> list[Outcome]:
        """Of each item, the log-probabilities of its continuations and what they prefer."""
        return [
            self._outcome(question, [one.loglikelihood for one in got if isinstance(one, Answer)])
            for question, got in zip(questions, replies, strict=True)
        ]

    @abstractmethod
    def _outcome(self, question: Question, logprobs: list[float]) -> Outcome:
        """Of one item."""


class StereoSet(_Sentences):
    """The development set of StereoSet, asked of one model."""

    name = NAME
    neutral = NEUTRAL

    def metrics(self, outcomes: Sequence[Outcome]) -> list[Metric]:
        """ICAT, LMS and SS, and SS of every type of bias that is there."""
        names = {name for outcome in outcomes for name in outcome.raw}
        return [metric for metric in METRICS if metric.name in names]

    def aggregate(self, metric: Metric, outcomes: Sequence[Outcome]) -> float:
        """As published, over the items that have the metric."""
        found = scores([outcome.raw[metric.name] for outcome in outcomes])
        return {ICAT: found.icat, LMS: found.language}.get(metric.name, found.stereotype)

    def _outcome(self, question: Question, logprobs: list[float]) -> Outcome:
        document = question.document
        num_tokens = [len(one.continuation) for one in question.calls if isinstance(one, Request)]
        score_3 = [nats / num for nats, num in zip(logprobs, num_tokens, strict=True)]
        score_13 = np.array([score_3])
        raw = (document["target"], score_3)
        return Outcome(
            metrics={
                PREFERS_STEREOTYPE: float(prefers_stereotype(score_13)[0]),
                PREFERS_SENSE: float(prefers_sense(score_13)[0]),
            },
            raw=dict.fromkeys((ICAT, LMS, SS, f"{SS}_{document['bias_type']}"), raw),
            prediction=document["choices"][int(score_13.argmax())],
            choice_logprobs=logprobs,
            choice_bytes=[len(choice.encode()) for choice in document["choices"]],
        )


class CrowSPairs(_Sentences):
    """The pairs of CrowS-Pairs, asked of one model."""

    name = PAIRS_NAME
    neutral = PAIRS_NEUTRAL

    def metrics(self, outcomes: Sequence[Outcome]) -> list[Metric]:
        """The share of stereotypes, in all and of every type of bias that is there."""
        names = {name for outcome in outcomes for name in outcome.metrics}
        return [metric for metric in PAIR_METRICS if metric.name in names]

    def aggregate(self, metric: Metric, outcomes: Sequence[Outcome]) -> float:
        """No metric here is of the whole corpus."""
        raise AssertionError(f"{metric.name} is a mean of items, not a figure of the whole set")

    def _outcome(self, question: Question, logprobs: list[float]) -> Outcome:
        document = question.document
        percent = crows_pairs(np.array([logprobs]))
        kind = document["bias_type"].replace("-", "_")
        return Outcome(
            metrics={STEREOTYPE: percent, f"{STEREOTYPE}_{kind}": percent},
            prediction=document["choices"][int(np.argmax(logprobs))],
            choice_logprobs=logprobs,
            choice_bytes=[len(choice.encode()) for choice in document["choices"]],
        )


@cache
def rows_of(task: str) -> list[Row]:
    """The items of a task, each once."""
    data = {NAME: DATA, PAIRS_NAME: PAIRS_DATA}[task]
    return list({document_key(row): row for row in load_embedded(data)}.values())


def continuations(document: Row) -> list[tuple[str, str]]:
    """Context and continuation of each sentence; one that stands alone is scored whole."""
    if document.get("type") != "intersentence":
        return [("", choice) for choice in document["choices"]]
    return [(document["context"].rstrip(), f" {choice}") for choice in document["choices"]]


def scores(raw: Sequence[tuple[str, Sequence[float]]]) -> Bias:
    """The three scores of (target, per-token log-probabilities) of some items."""
    return stereoset(
        np.array([score_3 for _, score_3 in raw], dtype=np.float64).reshape(-1, 3),
        [target for target, _ in raw],
    )
