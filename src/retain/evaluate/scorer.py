"""Log-likelihoods of many continuations at once, exact on any model.

Which path computes them is found by trying: one random tree, longer than any sliding window, is
scored both ways, and the fast path is taken only where it agrees. No list of model families.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import inf, isnan
from operator import attrgetter
from random import Random
from typing import Any

import torch

from retain.decode.live import answers_nan
from retain.decode.prefix_tree import Answer, Request, Row, fit
from retain.errors import Interrupted, TaskError
from retain.evaluate.below import Below, Recorder
from retain.evaluate.forward import EncoderPath, PaddedPath, ScoringPath, TreePath, WholePath
from retain.evaluate.ledger import Ledger
from retain.model.attention import longest_window
from retain.model.exact import multiplied_in_float32
from retain.model.head import UNLIKE, evaluating
from retain.model.memory import is_out_of_memory
from retain.model.rotary import forget_rows, rowwise_from

BUDGET_TOKENS = 2048  # tokens of one row
MIN_BUDGET_TOKENS = 64  # where memory runs out even so, it is the model that does not fit
PLAN_VERSION = 2  # of how rows are made of requests; raise when it changes
TOLERANCE = 1e-4  # of a log-probability, where weights are fp32
TOLERANCE_HALF = 0.1  # where the weights themselves have 16 bits; a wrong mask is off by far more
MARGIN = 24  # how much longer than the window the trial tree is, in tokens
Make = Callable[[Any], ScoringPath]
PATHS: tuple[Make, ...] = (TreePath, PaddedPath, WholePath)
EQUAL_PATHS: tuple[Make, ...] = (partial(PaddedPath, equal=True), partial(WholePath, equal=True))
ROWWISE = "its rotary positions depend on the longest sequence of a row, from {} tokens on"


@dataclass
class Scorer:
    """Scores requests on one model.

    Attributes:
        model: A transformers model in memory.
        max_length: What it can read, in tokens.
        autocast: Makes the context in which the model is called.
        budget_tokens: Tokens of one row; changes time and memory, not scores. Halved where memory
            runs out.
        num_truncated: Requests so far whose context had to be cut.
        below: What the lowest blocks make of rows, kept in a former phase.
        recorder: Takes what they make of rows; then no request is answered.
        notes: Which path is taken and why, in words.
    """

    model: Any
    max_length: int
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    budget_tokens: int = BUDGET_TOKENS
    num_truncated: int = 0
    below: Below | None = None
    recorder: Recorder | None = None
    notes: list[str] = field(default_factory=list)
    _path: ScoringPath | None = None
    _tried_to: int = 0

    @property
    def path(self) -> str:
        """The name of the path taken, ``""`` before the first request."""
        return self._path.name if self._path else ""

    def loglikelihoods(
        self, requests: Sequence[Request], ledger: Ledger | None = None, name: str = "scoring"
    ) -> list[Answer]:
        """The answer to each request, in their order.

        Args:
            requests: All there is to score: the more at once, the more is shared.
            ledger: Keeps finished rows and shows progress.
            name: What the progress bar says.

        Raises:
            TaskError: If a continuation is empty or too long, or the model answers NaN.
            Interrupted: If the ledger's ``stop`` came true.
        """
        if not requests:
            return []
        if self.recorder is not None:
            self.record(requests, ledger, name)
            return [Answer(0.0, False)] * len(requests)
        separate = bool(self.model.config.is_encoder_decoder)
        fitted = fit(requests, self.max_length, separate=separate)
        self.num_truncated += fitted.num_truncated
        answers: dict[int, Answer] = {}
        budget = self.budget_tokens
        with evaluating(self.model):
            path = self._choose(max(len(r.context) + len(r.continuation) for r in fitted.requests))
            with self.autocast(), _released(path):
                while len(answers) < len(requests):
                    part = name
                    if self.budget_tokens < budget:
                        part = f"{name} {self.budget_tokens}"
                    self._score(path, fitted.requests, answers, ledger or Ledger(), part)
        return [answers[index] for index in range(len(requests))]

    def _score(
        self,
        path: ScoringPath,
        requests: Sequence[Request],
        answers: dict[int, Answer],
        ledger: Ledger,
        name: str,
    ) -> None:
        """Answer what is not answered yet; where memory runs out, halve the budget and return.

        The ledger keeps that it ran out, so a resumed evaluation halves at the same row, and finds
        what was computed after it.
        """
        left = [index for index in range(len(requests)) if index not in answers]
        asked = [requests[index] for index in left]
        settings = [path.name, PLAN_VERSION, self.budget_tokens, torch.get_num_threads()]
        identity = [*settings, [[r.context, r.continuation] for r in asked]]
        if isinstance(path, TreePath):
            path.below = self.below
        plan = path.plan(asked, self.budget_tokens)
        cost = attrgetter("num_tokens")
        try:
            for row, results in ledger.run(name, plan, cost, _as_json(path), identity=identity):
                found = _answers(row, results)
                if broken := [asked[i] for i, one in found.items() if isnan(one.loglikelihood)]:
                    raise answers_nan(self._broken_alone(broken).name)
                answers |= {left[index]: answer for index, answer in found.items()}
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or self.budget_tokens <= MIN_BUDGET_TOKENS:
                raise
            path.release()
            ledger.keep_ran_out(name)
            self.budget_tokens //= 2
            self.notes.append(
                f"out of memory: going on with {self.budget_tokens} tokens at a time, same scores"
            )

    def _broken_alone(self, broken: Sequence[Request]) -> Request:
        """The first that is NaN by itself too: one NaN can spread to those computed beside it."""
        if isinstance(self._path, EncoderPath):
            return broken[0]
        return next((one for one in broken if isnan(_plainly(self.model, one))), broken[0])

    def record(
        self, requests: Sequence[Request], ledger: Ledger | None = None, name: str = "boundary"
    ) -> None:
        """Keep what the lowest blocks make of all that these requests will be scored on.

        Where the model is not scored as a tree, nothing is kept.

        Raises:
            Interrupted: If the ledger's ``stop`` came true.
        """
        separate = bool(self.model.config.is_encoder_decoder)
        fitted = fit(requests, self.max_length, separate=separate).requests
        watched = ledger or Ledger()
        with evaluating(self.model):
            path = self._choose(max(len(r.context) + len(r.continuation) for r in fitted))
            if not isinstance(path, TreePath) or self.recorder is None:
                return
            with self.autocast(), _released(path):
                plan = path.plan(fitted, self.budget_tokens)
                for done, row in enumerate(plan, 1):
                    if watched.stop():
                        raise Interrupted(
                            f"{name}: stopped after {done - 1} of {len(plan)} rows; the same "
                            "command goes on"
                        )
                    path.record(row, self.recorder)
                    watched.progress(done, len(plan), name, "rows")

    def _choose(self, longest: int) -> ScoringPath:
        """The first path that agrees with the plain use of the model on a tree of this length.

        It is tried outside of autocast, in the precision of the weights: the tolerances tell a
        wrong mask from rounding there.
        """
        if self.model.config.is_encoder_decoder:
            self._path = self._path or EncoderPath(self.model)
            self._say([])
            return self._path
        rowwise = longest >= rowwise_from(self.model)
        needed = min(longest_window(self.model), longest) + MARGIN
        fits = not rowwise or getattr(self._path, "equal", False)
        if self._path is not None and needed <= self._tried_to and fits:
            return self._path
        self._tried_to = max(needed, self._tried_to)
        with multiplied_in_float32(self.model):
            if rowwise:
                why = ROWWISE.format(rowwise_from(self.model))
                return self._first_that_agrees(self._tried_to, EQUAL_PATHS, [why])
            return self._first_that_agrees(self._tried_to, PATHS, [])

    def _first_that_agrees(
        self, needed: int, paths: Sequence[Make], faults: list[str]
    ) -> ScoringPath:
        requests = _trial(needed, min(self.max_length, needed), self.model)
        expected = [_plainly(self.model, request) for request in requests]
        if any(map(isnan, expected)):  # the request that meets it is named when it is scored
            self._path = WholePath(self.model, equal=paths is EQUAL_PATHS)
            return self._path
        for make in paths:
            self._path, fault = _try(make, self.model, requests, expected)
            if self._path is not None:
                self._say(faults)
                return self._path
            faults.append(fault)
        raise TaskError(
            f"{type(self.model).__name__}: no way of scoring agrees with the model's own "
            f"log-probabilities: {'; '.join(faults)}"
        )

    def _say(self, faults: list[str]) -> None:
        reason = f" because {'; '.join(faults)}" if faults else ""
        note = f"scored by the {self.path} path{reason}"
        if note not in self.notes:
            self.notes.append(note)


@contextmanager
def _released(path: ScoringPath) -> Iterator[None]:
    """What the path keeps from row to row is let go of at the end."""
    try:
        yield
    finally:
        path.release()


def _as_json(path: ScoringPath) -> Callable[[Row], list[Any]]:
    def compute(row: Row) -> list[Any]:
        return [[answer.loglikelihood, answer.is_greedy] for answer in path.answer(row)]

    return compute


def _answers(row: Row, results: list[Any]) -> dict[int, Answer]:
    answers: dict[int, Answer] = {}
    targets = [target for document in row.documents for target in document.targets]
    for target, (loglikelihood, is_greedy) in zip(targets, results, strict=True):
        answers |= dict.fromkeys(target.requests, Answer(loglikelihood, is_greedy))
    return answers


def _trial(length: int, max_length: int, model: Any) -> list[Request]:
    """Three contexts, two of which begin alike; one with answers of one, five and eleven tokens."""
    draw = Random(0)
    vocabulary = min(model.config.get_text_config().vocab_size, 10_000)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(vocabulary) for _ in range(count))

    long, short = tokens(max(1, max_length - 11)), tokens(max(1, min(7, max_length - 5)))
    alike = (*long[: len(long) // 2], *tokens(3))
    return [
        *(Request(long, tokens(count), "trial") for count in (1, 5, 11)),
        *(Request(alike, tokens(count), "trial") for count in (2, 4)),
        Request(short, tokens(5), "trial"),
    ]


def _plainly(model: Any, request: Request) -> float:
    """The log-likelihood by one plain call of the model on one request alone."""
    forget_rows(model)
    tokens = torch.tensor([[*request.context, *request.continuation]], device=model.device)
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits[0].float()
    chosen = logits.log_softmax(-1).gather(-1, tokens[0, 1:, None])[:, 0]
    return float(chosen[-len(request.continuation) :].double().sum())


def _try(
    make: Make, model: Any, requests: list[Request], expected: list[float]
) -> tuple[ScoringPath | None, str]:
    """The path if it gives what is expected, in one row and in many; else None and why not.

    That memory runs out says nothing about the path, and is raised.
    """
    half = next(model.parameters()).dtype in (torch.float16, torch.bfloat16)
    tolerance = TOLERANCE_HALF if half else TOLERANCE
    num_tokens = sum(len(request.context) for request in requests)
    try:
        path = make(model)
        plans = [path.plan(requests, budget) for budget in (10 * num_tokens, num_tokens // 8)]
        worst = max(_worst(path, plan, requests, expected) for plan in plans)
    except UNLIKE as error:
        if is_out_of_memory(error):
            raise
        called: Any = getattr(make, "func", make)
        return None, f"the {called.name} path fails: {type(error).__name__}: {error}"
    if worst <= tolerance:
        return path, ""
    return None, f"the {path.name} path is off by {worst:.2g} a token on a random tree"


def _worst(
    path: ScoringPath, plan: list[Row], requests: list[Request], expected: list[float]
) -> float:
    """The largest error of a path on a plan, in nats a token; NaN counts as infinite."""
    targets = [target for row in plan for document in row.documents for target in document.targets]
    answers = [answer for row in plan for answer in path.answer(row)]
    path.release()
    errors = [
        abs(answer.loglikelihood - expected[target.requests[0]]) / len(target.tokens)
        for answer, target in zip(answers, targets, strict=True)
    ]
    return max(inf if isnan(error) else error for error in errors)
