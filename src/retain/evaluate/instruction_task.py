"""Whether a model still does as it is told: a hundred instructions, verified by program.

Source: the idea of Zhou et al., "Instruction-Following Evaluation for Large Language Models", 2023,
https://arxiv.org/abs/2311.07911 (IFEval; lm-eval's task ``ifeval`` is theirs). Departures: other,
shorter instructions, one constraint each, and answers of at most 160 tokens.
"""

from collections.abc import Sequence
from math import isnan

from retain.data.example import Example, Message
from retain.evaluate.engine import Engine
from retain.evaluate.example_task import prompt
from retain.evaluate.instructions import (
    NAME,
    Instruction,
    document,
    follows,
    instructions,
    is_in_language,
)
from retain.evaluate.items import divide, document_key, limit_notes
from retain.evaluate.task import Metric, Outcome, Question, Reply
from retain.measure.repetition import LENGTHS, text_repetition, text_repetitions

ANSWER_TOKENS = 160
FOLLOWED, LANGUAGE, REPETITION = "followed", "language_kept", "repetition"
METRICS = (
    Metric(FOLLOWED, True, "fraction", True),
    Metric(LANGUAGE, True, "fraction", False),
    Metric(REPETITION, False, "fraction", False),
    *(Metric(f"{REPETITION}_{length}", False, "fraction", False) for length in LENGTHS),
)
NOTE = "the instructions in Hindi and Nepali have not been reviewed by a native speaker"


class InstructionTask:
    """The instructions, asked of one model through its chat template.

    Args:
        engine: The model that is asked.
        limit: Ask only the first so many of the fixed order.
    """

    name = NAME

    def __init__(self, engine: Engine, limit: int | None = None) -> None:
        self.engine = engine
        self.instructions = instructions()
        keys = [document_key(document(one)) for one in self.instructions]
        constraints = [one.constraint for one in self.instructions]
        division = divide(keys, constraints, keep_pool=False, limit=limit)
        self.items = division.items
        self.notes = [NOTE, *limit_notes(limit, division.num_available)]

    def shots(self, wanted: Sequence[int] | None) -> list[int]:
        """None: an instruction is understood by itself or not."""
        return [0]

    def questions(self, num_fewshot: int) -> list[Question]:
        """One prompt each."""
        asked = []
        for item in self.items:
            one = self.instructions[item.index]
            turns = (
                Message(role="user", content=one.prompt),
                Message(role="assistant", content=one.constraint),  # not read
            )
            tokens = self.engine.prompt_tokens(Example(source=NAME, messages=turns))
            call = prompt(self.engine, tokens, ANSWER_TOKENS, f"{NAME}, item {item.key[:16]}")
            asked.append(Question(item, num_fewshot, [call], one.prompt, one))
        return asked

    def outcomes(
        self, questions: Sequence[Question], replies: Sequence[Sequence[Reply]]
    ) -> list[Outcome]:
        """Of each reply: whether it keeps the constraint and the language, and repeats itself."""
        return [
            _outcome(question.document, str(reply))
            for question, [reply] in zip(questions, replies, strict=True)
        ]

    def metrics(self, outcomes: Sequence[Outcome]) -> list[Metric]:
        """All of them."""
        return list(METRICS)

    def aggregate(self, metric: Metric, outcomes: Sequence[Outcome]) -> float:
        """No metric here is of the whole corpus."""
        raise AssertionError(f"{metric.name} is a mean of items, not a figure of the whole set")


def _outcome(instruction: Instruction, reply: str) -> Outcome:
    repeated = {REPETITION: text_repetition(reply)} | {
        f"{REPETITION}_{length}": part for length, part in text_repetitions(reply).items()
    }
    return Outcome(
        metrics={
            FOLLOWED: float(follows(instruction, reply)),
            LANGUAGE: float(is_in_language(reply, instruction.language)),
        }
        | {  # a reply that is too short does not repeat itself
            name: 0.0 if isnan(part) else part for name, part in repeated.items()
        },
        prediction=reply,
        target=instruction.constraint,
        response=reply,
    )
