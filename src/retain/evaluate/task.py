"""What every kind of task gives: questions to ask, and scores from the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from retain.decode.prefix_tree import Answer, Request
from retain.evaluate.engine import Pair
from retain.evaluate.generate import Prompt
from retain.evaluate.items import Item

Call = Pair | Request | Prompt | str
"""A continuation to score (as text or tokens), a prompt to continue, or a whole text to score."""
Reply = Answer | str | float
"""The answer to each kind of call."""


@dataclass
class Question:
    """One item at one number of shots.

    Attributes:
        item: The document.
        num_fewshot: Shots before it.
        calls: What the model is asked.
        prompt: What it reads, for people.
        document: What the task needs to score it.
    """

    item: Item
    num_fewshot: int
    calls: list[Call]
    prompt: str
    document: Any = None


@dataclass
class Outcome:
    """What the model made of one question.

    Attributes:
        metrics: The item's own score by metric; absent where the metric has no value for one item.
        raw: What the metric is aggregated from, where that is more than a number.
        prediction: The choice taken, or the text.
        target: What would have been right.
        response: What the model wrote.
        choice_logprobs: Log-likelihood of each choice, in nats.
        choice_bytes: UTF-8 bytes of each choice.
        answer: Index of the right choice, None where there is none.
        nats: Negative log-likelihood of the scored text.
        num_bytes: Its UTF-8 bytes.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    prediction: str = ""
    target: str = ""
    response: str = ""
    choice_logprobs: list[float] = field(default_factory=list)
    choice_bytes: list[int] = field(default_factory=list)
    answer: int | None = None
    nats: float | None = None
    num_bytes: int | None = None


@dataclass(frozen=True)
class Metric:
    """What a number means.

    Attributes:
        name: The metric.
        higher_is_better: Its direction.
        unit: ``fraction``, ``bits/byte``, ``points`` (0..100) or what else it is counted in.
        is_main: The one that stands for its task.
        aggregation: ``mean`` of items, ``ratio`` (summed nats over summed bytes), ``by_source``
            (made of means over source items of their items' means) or ``corpus`` (none of these).
    """

    name: str
    higher_is_better: bool
    unit: str
    is_main: bool
    aggregation: str = "mean"


class Task(Protocol):
    """A task ready to be asked.

    Attributes:
        name: Its name in every table.
        notes: What a reader of its scores should know.
    """

    name: str
    notes: list[str]

    def shots(self, wanted: Sequence[int] | None) -> list[int]:
        """The numbers of shots it is asked at, of those wanted; None wants its own number."""
        ...

    def questions(self, num_fewshot: int) -> list[Question]:
        """Its items, rendered with their shots."""
        ...

    def outcomes(
        self, questions: Sequence[Question], replies: Sequence[Sequence[Reply]]
    ) -> list[Outcome]:
        """The score of each question from the replies to its calls."""
        ...

    def metrics(self, outcomes: Sequence[Outcome]) -> list[Metric]:
        """What its scores mean."""
        ...

    def aggregate(self, metric: Metric, outcomes: Sequence[Outcome]) -> float:
        """One number over items, for a metric of the ``corpus`` kind."""
        ...


Spec = Mapping[str, Any]
"""A resolved task, as ``catalog.resolve`` gives it."""
