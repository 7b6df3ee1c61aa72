"""The answers that an evaluation wrote out, as a judge is shown them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retain.data.example import Example
from retain.errors import TaskError
from retain.evaluate.example_task import WRITTEN
from retain.evaluate.judge.prompts import Asked
from retain.evaluate.results import PROMPT_CHARACTERS

TARGET = "target"


@dataclass(frozen=True)
class Written:
    """One answer.

    Attributes:
        item: sha256 of the document.
        source_item: What it shares with others.
        asked: The question, and a right answer where there is one.
        answer: What the model wrote; may be empty.
    """

    item: str
    source_item: str
    asked: Asked
    answer: str


@dataclass(frozen=True)
class Answers:
    """The answers of one checkpoint, in the fixed order of the task.

    Attributes:
        listed: Of `report` items, at the fewest shots.
        num_cut: Left out, because what is kept of their prompt does not hold the question.
    """

    listed: tuple[Written, ...]
    num_cut: int


def read_written(items: Path, examples: Sequence[Example], limit: int | None) -> Answers:
    """The answers in an evaluation's ``items.parquet``.

    Args:
        items: The file.
        examples: What the task is made of, where it is made of examples: their questions are shown
            without the template and the shots around them.
        limit: The first so many; None takes all.

    Raises:
        TaskError: If no answer is written out.
    """
    import pyarrow.parquet as parquet

    rows = [row for row in parquet.read_table(items).to_pylist() if row["role"] == "report"]
    fewest = min((row["num_fewshot"] for row in rows), default=0)
    rows = [row for row in rows if row["num_fewshot"] == fewest and _is_written(row)]
    if not rows:
        raise TaskError(
            "no answer is written out (its items are choices or running text, or none is a "
            "`report` item); name tasks with written answers in evaluate.judge.tasks"
        )
    questions = {example.id: _asked(example) for example in examples}
    listed = [one for row in rows[:limit] if (one := _written(row, questions)) is not None]
    if not listed:
        raise TaskError(
            f"the prompts are longer than the {PROMPT_CHARACTERS} characters that are kept of "
            "them, and so the judge cannot be shown the questions; leave the task out of "
            "evaluate.judge.tasks"
        )
    return Answers(tuple(listed), len(rows[:limit]) - len(listed))


def examples_of(spec: Mapping[str, Any], data_folder: Path | None) -> list[Example]:
    """What a task is made of; [] for a task of the harness, whose prompts are all that is known."""
    if spec["kind"] == "phase":
        assert data_folder is not None, "a phase task needs its data step"
        lines = (data_folder / "heldout.jsonl").read_text("utf-8").splitlines()
        return [Example.from_json(json.loads(line)) for line in lines]
    if spec["kind"] == "own":
        from retain.data.sources import load

        return list(load(spec["at_data"]).examples)
    return []


def _is_written(row: Mapping[str, Any]) -> bool:
    """Whether the model was let write; of long tasks only the first items are."""
    if row["response"] or any(row.get(f"metric:{name}") is not None for name in WRITTEN):
        return True
    return row["nats"] is None and not row["choice_logprobs"]


def _written(row: Mapping[str, Any], questions: Mapping[str, Asked]) -> Written | None:
    asked = questions.get(row["item"])
    if asked is None:
        if len(row["prompt"]) >= PROMPT_CHARACTERS:
            return None
        asked = Asked(row["prompt"], row[TARGET] or "")
    return Written(row["item"], row["source_item"], asked, row["response"] or "")


def _asked(example: Example) -> Asked:
    turns = [message["content"] for message in example.prompt]
    return Asked("\n\n".join(turns), example.reference or "")
