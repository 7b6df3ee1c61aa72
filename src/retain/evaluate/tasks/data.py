"""Documents of the shipped tasks, read from the cached packages.

The task files name these functions, so lm-evaluation-harness runs the very same files
(``--include_path``).
"""

import re
from hashlib import sha256
from typing import Any

from datasets import Dataset

from retain.data.embedded import load_embedded
from retain.errors import TaskError

NUMBER = re.compile(r"-?\d+(\.\d+)?")


def questions(data: str, **_: Any) -> dict[str, Dataset]:
    """Questions with choices, by split.

    Args:
        data: Name of an embedded set of multiple-choice questions.
    """
    splits: dict[str, list[dict[str, Any]]] = {}
    for row in load_embedded(data):
        document = {
            "passage": row.get("passage", ""),
            "question": row["question"],
            "choices": row["choices"],
            "answer": row["answer"],
            "source_item": str(row.get("item", "")),
        }
        splits.setdefault(row.get("split", "test"), []).append(document)
    return {split: Dataset.from_list(documents) for split, documents in splits.items()}


def texts(data: str, characters: int, documents: int, **_: Any) -> dict[str, Dataset]:
    """The beginnings of texts of the split ``test``, cut at a word.

    Args:
        data: Name of an embedded set of running text.
        characters: Length of a text, at most; shorter ones are left out.
        documents: How many, chosen by hash.
    """
    rows = [row for row in load_embedded(data) if row.get("split", "test") == "test"]
    long = [row for row in rows if len(row["text"]) >= characters]
    if len(long) < documents:
        raise TaskError(f"embedded:{data}: {documents} texts wanted, {len(long)} are long enough")
    long.sort(key=lambda row: sha256(row["text"].encode()).hexdigest())
    chosen = [{"text": _cut(row["text"], characters)} for row in long[:documents]]
    return {"test": Dataset.from_list(chosen)}


def _cut(text: str, characters: int) -> str:
    return text[:characters].rsplit(None, 1)[0]


def problems(data: str, **_: Any) -> dict[str, Dataset]:
    """Problems in words whose answer begins with a number, by split.

    Args:
        data: Name of an embedded set of prompts with completions.
    """
    splits: dict[str, list[dict[str, Any]]] = {}
    for row in load_embedded(data):
        number = NUMBER.match(row["completion"].replace(",", ""))
        if number is not None:
            document = {
                "question": row["prompt"],
                "answer": number[0],
                "source_item": str(row.get("item", "")),
            }
            splits.setdefault(row.get("split", "test"), []).append(document)
    return {split: Dataset.from_list(documents) for split, documents in splits.items()}
