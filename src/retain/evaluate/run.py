"""Ask tasks all their questions at once, and score the replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retain.errors import TaskError
from retain.evaluate.below import Recorder
from retain.evaluate.engine import Engine
from retain.evaluate.generate import Prompt
from retain.evaluate.ledger import Ledger
from retain.evaluate.results import Asked, item_rows, scores
from retain.evaluate.task import Call, Question, Reply, Task


@dataclass
class Evaluation:
    """What came out.

    Attributes:
        scores: A row per task, metric, number of shots and role.
        items: A row per task, item and number of shots.
        notes: What a reader should know.
        specs: The tasks as they were resolved, where they were named.
        precision: What was computed in, where that is known.
        group_scores: A row per group of lm-eval, metric and number of shots.
    """

    scores: list[dict[str, Any]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    specs: list[Mapping[str, Any]] = field(default_factory=list)
    precision: str = ""
    group_scores: list[dict[str, Any]] = field(default_factory=list)


def run(
    tasks: Sequence[Task],
    engine: Engine,
    num_fewshot: Sequence[int] | None,
    ledger: Ledger | None = None,
) -> Evaluation:
    """Score a model on tasks, every task at every number of shots it takes; None asks its own.

    Raises:
        TaskError: If a task has no items, or one of them cannot be scored.
        Interrupted: If the ledger's ``stop`` came true; what is finished is kept.
    """
    questions = _questions(tasks, num_fewshot)
    replies = _replies([question for _, question in questions], engine, ledger or Ledger())
    result = Evaluation()
    for task in tasks:
        chosen = [index for index, (owner, _) in enumerate(questions) if owner is task]
        asked = [questions[index][1] for index in chosen]
        outcomes = task.outcomes(asked, [replies[index] for index in chosen])
        pairs: list[Asked] = list(zip(asked, outcomes, strict=True))
        result.scores += scores(task, pairs)
        result.items += item_rows(task, pairs)
        result.notes += [f"{task.name}: {note}" for note in task.notes]
    result.notes += [*engine.scorer.notes, *engine.generator.notes]
    if engine.num_truncated:
        result.notes.append(
            f"{engine.num_truncated} prompts were cut on the left to the "
            f"{engine.max_length} tokens the model reads"
        )
    return result


def record(
    task: Task, engine: Engine, num_fewshot: Sequence[int], ledger: Ledger, recorder: Recorder
) -> None:
    """Keep what the model's lowest blocks make of all that a task scores; answers are not written.

    Raises:
        TaskError: If the task has no items.
        Interrupted: If the ledger's ``stop`` came true; what is kept stays.
    """
    engine.scorer.recorder = recorder
    asked = [question for _, question in _questions([task], num_fewshot)]
    calls: dict[str, list[Any]] = {"choices": [], "text": [], "answers": []}
    for call in (call for question in asked for call in question.calls):
        calls[_kind(call)].append(call)
    engine.loglikelihoods(calls["choices"], ledger)
    engine.rolling(calls["text"], ledger)


def _questions(
    tasks: Sequence[Task], num_fewshot: Sequence[int] | None
) -> list[tuple[Task, Question]]:
    """All questions of all tasks, each task at every number of shots that it takes."""
    questions: list[tuple[Task, Question]] = []
    for task in tasks:
        for k in task.shots(num_fewshot):
            found = task.questions(k)
            if not found:
                raise TaskError(f"{task.name}: no items to score")
            questions += [(task, question) for question in found]
    return questions


def _replies(questions: list[Question], engine: Engine, ledger: Ledger) -> list[list[Reply]]:
    """The replies to each question's calls, each kind of call asked all at once."""
    places: dict[str, list[tuple[int, int]]] = {"choices": [], "text": [], "answers": []}
    for index, question in enumerate(questions):
        for number, call in enumerate(question.calls):
            places[_kind(call)].append((index, number))

    def calls(kind: str) -> list[Any]:
        return [questions[index].calls[number] for index, number in places[kind]]

    names = [questions[index].item.key[:16] for index, _ in places["text"]]
    given: dict[str, Sequence[Reply]] = {
        "choices": engine.loglikelihoods(calls("choices"), ledger),
        "text": engine.rolling(calls("text"), ledger, names),
        "answers": engine.generate(calls("answers"), ledger),
    }
    replies: list[dict[int, Reply]] = [{} for _ in questions]
    for kind, where in places.items():
        for (index, number), reply in zip(where, given[kind], strict=True):
            replies[index][number] = reply
    return [[found[number] for number in range(len(found))] for found in replies]


def _kind(call: Call) -> str:
    match call:
        case str():
            return "text"
        case Prompt():
            return "answers"
        case _:
            return "choices"
