"""How many tokens a task reads, scores and has written."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from retain.errors import RetainError
from retain.estimate.known import Known
from retain.evaluate.items import NUM_ROLE_PARTS
from retain.steps.step import Step

UNKNOWN_ITEMS, UNKNOWN_TOKENS = 500, 150
"""Items of a task whose data is not at hand, and tokens of one."""
CHARACTERS_PER_TOKEN = 4.0
ASKED = ("passage", "context", "question", "prompt")
GENERATED = (64, 64)
"""Items whose answers are written out, and tokens of an answer."""
ROLLING = (100, 1000)
"""Texts of english_bits_per_byte, and characters of one."""
WRITTEN_HERE = {"verifiable_instructions": (4000, 0, 8000), "minimal_pairs_": (3000, 2000, 0)}
"""How the names of tasks written here begin, to tokens that are read, scored and written."""
SAMPLE_TOKENS = 3 * 48
NUM_MEASURED = 100
"""Held-out examples whose tokens are counted."""


class Tokens(NamedTuple):
    """Of a task at 0 shots.

    Attributes:
        read: Tokens that the model reads.
        scored: Those whose log-likelihood counts.
        written: Tokens of answers.
    """

    read: int
    scored: int
    written: int = 0


class TaskTokens:
    """Counts the tokens of tasks, each task once however many checkpoints are scored on it.

    Args:
        known: Where data and tokenizer are found.

    Attributes:
        num_items: Task to its `report` items, where they can be told.
    """

    def __init__(self, known: Known) -> None:
        self.known = known
        self.num_items: dict[str, int] = {}
        self._counted: dict[tuple[str, str], Tokens] = {}

    def of(self, step: Step) -> Tokens:
        """Of the task of an evaluation."""
        data = step.inputs["data"].fingerprint if "data" in step.inputs else ""
        key = (json.dumps([step.settings["task"], step.settings["limit"]]), data)
        if key not in self._counted:
            self._counted[key] = self._count(step)
        return self._counted[key]

    def _count(self, step: Step) -> Tokens:
        spec, limit = step.settings["task"], step.settings["limit"]
        if spec["kind"] == "phase":
            return self._of_phase(step, limit)
        if spec["kind"] == "own":
            return _of_own(self.known.resolved.tasks[spec["name"]], limit)
        if shipped := next(
            (v for k, v in WRITTEN_HERE.items() if spec["name"].startswith(k)), None
        ):
            return Tokens(*shipped)
        if "data" in spec:
            return self._of_embedded(spec, limit)
        self.known.notes.setdefault(f"{spec['name']}: a rough guess, its data is not at hand.")
        items = min(limit or UNKNOWN_ITEMS, UNKNOWN_ITEMS)
        return Tokens(items * UNKNOWN_TOKENS, items * 10)

    def _of_phase(self, step: Step, limit: int | None) -> Tokens:
        """Of a phase's own task: its held-out examples, counted with the model's tokenizer."""
        lines = (
            self.known.open(step.inputs["data"], "heldout.jsonl").read_text("utf-8").splitlines()
        )
        rows = [json.loads(line) for line in lines]
        rows = [row for row in rows if row["role"] != "pool"][:limit]
        if all(row.get("choices") or row.get("reference") for row in rows):
            name = step.settings["task"]["name"]
            self.num_items[name] = sum(row["role"] == "report" for row in rows)
        measured = rows[:NUM_MEASURED]
        if not measured:
            return Tokens(0, 0)
        tokenizer = self._tokenizer()
        read = scored = 0
        for row in measured:
            texts = [m["content"] for m in row.get("messages") or ()] or [row["text"]]
            choices = sum(len(tokenizer(one).input_ids) for one in row.get("choices") or ())
            own = sum(len(tokenizer(text).input_ids) for text in texts)
            read += own + choices + 20
            scored += choices or (own if row.get("text") else len(tokenizer(texts[-1]).input_ids))
        scale = len(rows) / len(measured)
        written = any(r.get("reference") and not r.get("choices") for r in measured)
        generated = GENERATED[0] * GENERATED[1] if written else 0
        return Tokens(int(read * scale), int(scored * scale), generated + SAMPLE_TOKENS)

    def _of_embedded(self, spec: Mapping[str, Any], limit: int | None) -> Tokens:
        """Of a shipped task, by the characters of its data."""
        from retain.data.embedded import load_embedded

        try:
            rows = load_embedded(spec["data"].removeprefix("embedded:"))
        except RetainError:
            return Tokens(UNKNOWN_ITEMS * UNKNOWN_TOKENS, UNKNOWN_ITEMS * 10)
        if spec.get("output_type") == "loglikelihood_rolling":
            texts, characters = ROLLING
            tokens = int(min(limit or texts, texts) * characters / CHARACTERS_PER_TOKEN)
            return Tokens(tokens, tokens)
        rows = [row for row in rows if row.get("split") != "train"][:limit]
        self.num_items[spec["name"]] = round(len(rows) * (1 - 1 / NUM_ROLE_PARTS))
        asked = sum(len(str(row.get(key, ""))) for row in rows for key in ASKED)
        choices = sum(len(choice) for row in rows for choice in row.get("choices", ()))
        return Tokens(
            int((asked + choices) / CHARACTERS_PER_TOKEN) + 10 * len(rows),
            int(choices / CHARACTERS_PER_TOKEN),
        )

    def _tokenizer(self) -> Any:
        """The tokenizer of the recipe's model."""
        from transformers import AutoTokenizer

        from retain.model.reference import folder

        recipe = self.known.resolved.recipe
        return AutoTokenizer.from_pretrained(folder(recipe.model, recipe.revision))


def _of_own(spec: Mapping[str, Any], limit: int | None) -> Tokens:
    """Of a test of one's own, by the characters of its rows."""
    from retain.data.sources import load

    try:
        examples = load(spec["at_data"]).examples[:limit]
    except RetainError:
        if "data" not in spec:  # embedded data may not be fetched yet; a file is at hand
            raise
        written = GENERATED[0] * GENERATED[1]
        return Tokens(UNKNOWN_ITEMS * UNKNOWN_TOKENS, UNKNOWN_ITEMS * 10, written)
    texts = [example.contents for example in examples]
    read = int(sum(len("".join(one)) for one in texts) / CHARACTERS_PER_TOKEN) + 10 * len(texts)
    if spec["metric"] == "bits_per_byte":
        return Tokens(read, read)
    choices = sum(len(choice) for example in examples for choice in example.choices or ())
    scored = int(choices / CHARACTERS_PER_TOKEN)
    return Tokens(read + scored, scored, 0 if choices else len(texts) * GENERATED[1])
