"""A model with all that scoring needs around it: tokens, log-likelihoods, generation."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from retain.data.example import Example
from retain.data.pairs import read_tokens
from retain.data.render import prompt_tokens
from retain.decode.prefix_tree import Answer, Request
from retain.evaluate.generate import Generator, Prompt
from retain.evaluate.ledger import Ledger
from retain.evaluate.scorer import BUDGET_TOKENS, Scorer
from retain.evaluate.tokens import Encoder
from retain.model.length import model_length


@dataclass(frozen=True)
class Pair:
    """A context and the continuation to score, as text that is cut as the harness cuts.

    Attributes:
        context: May be empty.
        continuation: What is scored.
        name: What an error calls it.
    """

    context: str
    continuation: str
    name: str = ""


class Engine:
    """Answers log-likelihoods, rolling log-likelihoods and prompts on one model.

    Args:
        model: A transformers model in memory.
        tokenizer: Its tokenizer.
        autocast: Makes the context in which the model is called; none means its own precision.
        budget_tokens: Tokens computed at a time; changes time and memory, not scores.
        add_bos_token: Overrules whether the tokenizer adds BOS.
        max_length: What the model reads; by default what its configuration says.

    Attributes:
        precision: What is computed in, as a reader of the scores is told.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        budget_tokens: int = BUDGET_TOKENS,
        add_bos_token: bool | None = None,
        max_length: int | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.precision = str(model.dtype).removeprefix("torch.")
        self.max_length = max_length or model_length(model, tokenizer)
        self.encoder = Encoder(tokenizer, add_bos_token, bool(model.config.is_encoder_decoder))
        self.scorer = Scorer(model, self.max_length, autocast, budget_tokens)
        self.generator = Generator(model, self.encoder, self.max_length, autocast)

    def prompt_tokens(self, example: Example) -> tuple[int, ...]:
        """What the model is given when the last turn is asked for, as training gives it."""
        make = read_tokens if self.encoder.separate else prompt_tokens
        return tuple(make(example, self.tokenizer))

    def loglikelihoods(
        self,
        asked: Sequence[Pair | Request],
        ledger: Ledger | None = None,
        name: str = "choices",
    ) -> list[Answer]:
        """The log-likelihood of each continuation after its context; a request has its tokens."""
        texts = [(pair.context, pair.continuation) for pair in asked if isinstance(pair, Pair)]
        encoded = dict(zip(texts, self.encoder.pairs(texts), strict=True))
        requests = [
            one
            if isinstance(one, Request)
            else Request(*encoded[one.context, one.continuation], one.name)
            for one in asked
        ]
        return self.scorer.loglikelihoods(requests, ledger, name)

    def rolling(
        self,
        texts: Sequence[str],
        ledger: Ledger | None = None,
        names: Sequence[str] = (),
        name: str = "text",
    ) -> list[float]:
        """The log-likelihood of each whole text, in windows as the harness makes them."""
        requests: list[Request] = []
        owners: list[int] = []
        for index, text in enumerate(texts):
            for context, continuation in self.encoder.windows(text, self.max_length):
                called = names[index] if names else f"text {index}"
                requests.append(Request(context, continuation, called))
                owners.append(index)
        totals = [0.0] * len(texts)
        answers = self.scorer.loglikelihoods(requests, ledger, name)
        for owner, answer in zip(owners, answers, strict=True):
            totals[owner] += answer.loglikelihood
        return totals

    def generate(
        self, prompts: Sequence[Prompt], ledger: Ledger | None = None, name: str = "answers"
    ) -> list[str]:
        """What the model writes after each prompt."""
        return self.generator.continuations(prompts, ledger, name)

    @property
    def num_truncated(self) -> int:
        """Contexts cut so far because the model cannot read them whole."""
        return self.scorer.num_truncated + self.generator.num_truncated
