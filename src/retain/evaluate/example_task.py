"""Tasks made of examples: a phase's held-out split, and a user's own test.

What an example has decides how it is asked: choices by the log-likelihood of each after the
chat-rendered prompt; a reference by its bits per byte, and by what the model writes; a text by its
bits per byte. Prompts and answers are encoded exactly as training encodes them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

from retain.data.example import Example, Message, last_assistant
from retain.data.pairs import halves
from retain.data.render import continuation_tokens, continuations, with_shots
from retain.data.split import order
from retain.decode.prefix_tree import Answer, Request
from retain.errors import TaskError
from retain.evaluate import text_metrics
from retain.evaluate.engine import Engine
from retain.evaluate.generate import Prompt
from retain.evaluate.identity import check_unchanged
from retain.evaluate.items import Item, divide, limit_notes
from retain.evaluate.shots import FIRST, Shots, donors, drawn
from retain.evaluate.task import Call, Metric, Outcome, Question, Reply
from retain.evaluate.tokens import rolling_windows

GENERATION_LIMIT = 64  # items whose answer is written out; the rest is scored by likelihood alone
MIN_ANSWER_TOKENS, MAX_ANSWER_TOKENS = 16, 256
WRITTEN: dict[str, Callable[[str, str], float]] = {
    "exact_match": text_metrics.exact_match,
    "chrf": text_metrics.chrf,
    "bleu": text_metrics.bleu,
    "rouge_1": text_metrics.rouge_1,
    "rouge_l": text_metrics.rouge_l,
}
SARI = "sari"
"""A written answer's metric that reads the question too: how well it makes a text simpler."""
METRICS = {
    metric.name: metric
    for metric in (
        Metric("acc", True, "fraction", False),
        Metric("exact_match", True, "fraction", False),
        Metric("chrf", True, "chrf", False),
        Metric("bleu", True, "bleu", False),
        Metric("rouge_1", True, "fraction", False),
        Metric("rouge_l", True, "fraction", False),
        Metric("sari", True, "sari", False),
        Metric("bits_per_byte", False, "bits_per_byte", False, "ratio"),
    )
}
TARGET_CHARACTERS = 200
TRANSCRIPT_ENDS = ["\n\nUser:", "\n\nAssistant:"]


@dataclass
class ExampleTask:
    """Examples with their roles, asked of one model.

    Attributes:
        name: Its name in every table.
        scored: The items in their fixed order, each with its example.
        pool: Examples kept as shots, in the order they are drawn.
        engine: The model that is asked, for its tokenizer and length.
        written: Metrics of what the model writes.
        num_written: How many items are written out.
        main: The metric that stands for the task; None takes accuracy, else bits per byte.
        notes: What a reader of its scores should know.
    """

    name: str
    scored: list[tuple[Item, Example]]
    pool: list[Example]
    engine: Engine
    written: tuple[str, ...] = ("chrf", "exact_match")
    num_written: int = GENERATION_LIMIT
    main: str | None = None
    notes: list[str] = field(default_factory=list)

    def shots(self, wanted: Sequence[int] | None) -> list[int]:
        """All that are wanted; running text takes none, so it is asked at 0."""
        if wanted is None or all(example.text is not None for _, example in self.scored):
            return [0]
        if max(wanted) > len(self.pool):
            raise TaskError(
                f"{self.name}: {max(wanted)} shots asked, its pool has {len(self.pool)}. "
                "Ask for fewer, or hold out more examples."
            )
        return list(wanted)

    def questions(self, num_fewshot: int) -> list[Question]:
        """Its items, rendered with their shots."""
        asked = []
        for number, (item, example) in enumerate(self.scored):
            shown = with_shots(example, self.pool[:num_fewshot])
            tokens = self.engine.prompt_tokens(shown)
            calls = self._calls(example, shown, tokens, f"{self.name}, item {item.key[:16]}")
            if number >= self.num_written:
                calls = [call for call in calls if not isinstance(call, Prompt)]
            prompt = self.engine.tokenizer.decode(tokens) if tokens else example.text or ""
            asked.append(Question(item, num_fewshot, calls, prompt, example))
        return asked

    def _calls(
        self, example: Example, shown: Example, context: tuple[int, ...], called: str
    ) -> list[Call]:
        tokenizer = self.engine.tokenizer
        if example.text is not None:
            return list(self._windows(example.text, called))
        answers = [
            Request(context, tuple(continuation_tokens(text, tokenizer)), called)
            for text in continuations(shown, tokenizer)
        ]
        if example.choices or example.reference is None or not self.written:
            return list(answers)
        limit = answer_limit(len(answers[0].continuation))
        return [*answers, prompt(self.engine, context, limit, called)]

    def _windows(self, text: str, called: str) -> list[Request]:
        encoder = self.engine.encoder
        if encoder.separate:
            return [Request(*pair, called) for pair in self._pairs(text)]
        (tokens,) = encoder.encode([text], add_special_tokens=False)
        windows = rolling_windows(tokens, encoder.prefix_token_id, self.engine.max_length)
        return [Request(*window, called) for window in windows]

    def _pairs(self, text: str) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Of an encoder and its decoder: what each takes of a text, as in training."""
        (tokens,) = self.engine.encoder.encode([text], add_special_tokens=False)
        size = self.engine.max_length
        blocks = [tokens[at : at + size] for at in range(0, len(tokens), size)]
        both = [halves(block, self.engine.tokenizer) for block in blocks]
        return [(tuple(read), tuple(written)) for read, written in both]

    def _scored_text(self, example: Example) -> str:
        """What log-likelihoods are of: the reference, or the text (of pairs, what is written)."""
        if example.text is None or not self.engine.encoder.separate:
            return example.text if example.text is not None else example.reference or ""
        written = [written for _, written in self._pairs(example.text)]
        return "".join(self.engine.tokenizer.batch_decode(written))

    def outcomes(
        self, questions: Sequence[Question], replies: Sequence[Sequence[Reply]]
    ) -> list[Outcome]:
        """The score of each question."""
        return [
            self._outcome(question.document, replied)
            for question, replied in zip(questions, replies, strict=True)
        ]

    def _outcome(self, example: Example, replies: Sequence[Reply]) -> Outcome:
        logprobs = [reply.loglikelihood for reply in replies if isinstance(reply, Answer)]
        if example.choices and example.answer is not None:
            best = max(range(len(logprobs)), key=logprobs.__getitem__)
            return Outcome(
                metrics={"acc": float(best == example.answer)},
                prediction=example.choices[best],
                target=example.choices[example.answer],
                choice_logprobs=logprobs,
                choice_bytes=[len(choice.encode()) for choice in example.choices],
                answer=example.answer,
            )
        scored = self._scored_text(example)
        nats, num_bytes = -sum(logprobs), len(scored.encode())
        outcome = Outcome(target=scored[:TARGET_CHARACTERS], nats=nats, num_bytes=num_bytes)
        outcome.metrics["bits_per_byte"] = nats / log(2) / num_bytes
        for text in (reply for reply in replies if isinstance(reply, str)):
            outcome.prediction = outcome.response = text
            outcome.metrics |= {
                name: _written(name, text.strip(), example) for name in self.written
            }
        return outcome

    def metrics(self, outcomes: Sequence[Outcome]) -> list[Metric]:
        """The metrics that any item has; one of them is the main one."""
        names = {name for outcome in outcomes for name in outcome.metrics}
        main = self.main or ("acc" if "acc" in names else "bits_per_byte")
        return [
            Metric(m.name, m.higher_is_better, m.unit, m.name == main, m.aggregation)
            for m in METRICS.values()
            if m.name in names
        ]

    def aggregate(self, metric: Metric, outcomes: Sequence[Outcome]) -> float:
        """Never asked: all its metrics are means or ratios."""
        raise TaskError(f"{self.name}: {metric.name} is no metric of the corpus")


def _written(metric: str, answer: str, example: Example) -> float:
    """How near a written answer comes to the example's reference."""
    reference = example.reference or ""
    if metric == SARI:
        return text_metrics.sari(answer, to_simplify(example), [reference])
    return WRITTEN[metric](answer, reference)


def to_simplify(example: Example) -> str:
    r"""The text that an example asks to be made simpler: its last question without instruction.

    What follows the first empty line of the last user message; all of it where there is none.

    >>> ask = {"role": "user", "content": "Make it simpler.\n\nThe feline sat."}
    >>> to_simplify(Example(source="x", messages=(ask, {"role": "assistant", "content": "."})))
    'The feline sat.'
    """
    asked = [one["content"] for one in example.prompt if one["role"] == "user"]
    instruction, _, text = (asked[-1] if asked else "").partition("\n\n")
    return text.strip() or instruction


def prompt(engine: Engine, context: tuple[int, ...], limit: int, called: str = "") -> Prompt:
    """A rendered prompt, answered greedily in up to ``limit`` tokens."""
    ends = [] if engine.tokenizer.chat_template else TRANSCRIPT_ENDS
    options = {"until": ends, "max_gen_toks": limit, "do_sample": False}
    return Prompt(engine.tokenizer.decode(context), options, called, context)


def answer_limit(num_expected: int) -> int:
    """Tokens an answer may have: twice what is expected, as a power of two from 16 to 256.

    >>> answer_limit(3), answer_limit(30), answer_limit(3000)
    (16, 64, 256)
    """
    limit = MIN_ANSWER_TOKENS
    while limit < min(2 * num_expected, MAX_ANSWER_TOKENS):
        limit *= 2
    return limit


def shown_pool(name: str, pool: Sequence[Example], shots: Shots) -> list[Example]:
    """The pool as a draw shows it: in its order, with the answers it has there.

    Raises:
        TaskError: If answers are to be permuted and there are not two.
    """
    keys = [example.id for example in pool]
    shown = list(pool)
    if shots.shuffled and pool:
        its = donors(name, keys, shots.draw)
        shown = [_answered(one, pool[donor]) for one, donor in zip(pool, its, strict=True)]
    return [shown[place] for place in drawn(keys, shots.draw)]


def _answered(example: Example, donor: Example) -> Example:
    """A dialogue whose last answer is another's."""
    assert example.messages is not None
    assert donor.messages is not None
    place = last_assistant(example.messages)
    answer = donor.messages[last_assistant(donor.messages)]["content"]
    changed = Message(role="assistant", content=answer)
    messages = (*example.messages[:place], changed, *example.messages[place + 1 :])
    return Example(source=example.source, messages=messages, is_completion=example.is_completion)


def phase_task(
    name: str, held_out: Path, engine: Engine, limit: int | None, shots: Shots = FIRST
) -> ExampleTask:
    """The held-out split of a phase as a task; roles and pool are those of the file.

    Args:
        name: ``phase:NAME``.
        held_out: ``heldout.jsonl`` of the phase's data step.
        engine: The model that is asked.
        limit: Score only the first so many of the fixed order.
        shots: Which examples are shown.

    Raises:
        TaskError: If nothing is held out, or `shown_pool` refuses.
    """
    rows = [json.loads(line) for line in held_out.read_text("utf-8").splitlines()]
    examples = [Example.from_json(row) for row in rows]
    roles = {example.id: row["role"] for example, row in zip(examples, rows, strict=True)}
    found = order(examples)
    scored = [
        (Item(example.id, example.item, roles[example.id], index), example)
        for index, example in enumerate(found)
        if roles[example.id] != "pool"
    ]
    if not scored:
        raise TaskError(f"{name}: its data has no held-out item to score; raise held_out")
    pool = [one for one in found if roles[one.id] == "pool" and one.text is None]
    task = ExampleTask(name, scored[:limit], shown_pool(name, pool, shots), engine)
    task.notes += limit_notes(limit, len(scored))
    return task


def own_task(
    spec: Mapping[str, Any], engine: Engine, limit: int | None, shots: Shots = FIRST
) -> ExampleTask:
    """A user's own test, as ``catalog.resolve`` gives it.

    Raises:
        TaskError: If an example lacks what the metric needs.
        DataError: If the data is broken, or changed since the spec was made.
    """
    from retain.data.sources import load

    name, metric = spec["name"], spec["metric"]
    check_unchanged(spec)
    examples = load(spec["at_data"]).examples
    _check_fits(name, metric, examples)
    division = divide(
        [example.id for example in examples],
        [example.item for example in examples],
        keep_pool=any(example.text is None for example in examples),
        limit=limit,
    )
    main = {"choice": "acc"}.get(metric, metric)
    task = ExampleTask(
        name,
        [(item, examples[item.index]) for item in division.items],
        shown_pool(name, [examples[index] for index in division.pool], shots),
        engine,
        written=(metric,) if metric in (*WRITTEN, SARI) else (),
        num_written=len(division.items),
        main=main,
    )
    task.notes += limit_notes(limit, division.num_available)
    return task


def _check_fits(name: str, metric: str, examples: Sequence[Example]) -> None:
    for number, example in enumerate(examples, start=1):
        has_answer = example.choices is not None and example.answer is not None
        if metric == "choice" and not has_answer:
            raise TaskError(
                f"{name}: metric choice needs choices and an answer; row {number} has none"
            )
        if metric in (*WRITTEN, SARI) and example.reference is None:
            raise TaskError(
                f"{name}: metric {metric} needs a reference answer; row {number} has none"
            )
        if metric == "bits_per_byte" and has_answer:
            raise TaskError(f"{name}: row {number} has choices; its metric is choice")
