"""The texts that a task scores, so that training data can be checked for them."""

from collections.abc import Iterable, Mapping
from typing import Any

from retain.evaluate.identity import check_unchanged

MIN_CHARACTERS = 40  # shorter strings ("yes", "Paris") say nothing about what was seen


def document_texts(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where and what of every text that would give a scored document of a task away.

    Args:
        spec: A resolved task with its places, not a phase's.

    Raises:
        TaskError: If it cannot be loaded.
        DataError: If its data changed since it was resolved.
    """
    name = str(spec["name"])
    if spec["kind"] == "own":
        from retain.data.leak import texts
        from retain.data.sources import load

        check_unchanged(spec)
        examples = load(spec["at_data"]).examples
        return [(f"{name} {one.id}", text) for one in examples for text in texts(one)]
    if spec["kind"] in ("stereoset", "crows_pairs"):
        from retain.evaluate.bias_task import continuations, rows_of

        return [
            (f"{name} {row.get('target', row['bias_type'])}", f"{context}{sentence}")
            for row in rows_of(name)
            for context, sentence in continuations(row)
        ]
    if spec["kind"] == "instructions":
        from retain.evaluate.instructions import instructions

        return [(f"{name} {one.constraint}", one.prompt) for one in instructions()]
    from retain.evaluate.lm_eval_task import LmEvalTask

    task = LmEvalTask(spec)
    return [
        (f"{name} {item.key[:16]}", text)
        for item in task.division.items
        for text in _texts(task, task.documents[item.index])
    ]


def _texts(task: Any, document: Any) -> Iterable[str]:
    """The rendered prompt, the question by itself, and what is scored as running text."""
    asked = task.task.doc_to_text(document)
    target = task.task.doc_to_target(document)
    found = [asked, target]
    if isinstance(document, Mapping):
        question, passage = document.get("question"), document.get("passage")
        found += [question, f"{passage}\n\n{question}"]
    return {text for text in found if isinstance(text, str) and len(text) >= MIN_CHARACTERS}
