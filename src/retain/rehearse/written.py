"""The files of a written corpus, for those who read it: nothing here needs a model."""

from collections.abc import Mapping
from typing import Any

CORPUS, FACTS = "corpus.jsonl", "facts.json"


def written_of(row: Mapping[str, Any]) -> str:
    """What the model wrote of a line of a corpus."""
    messages = row.get("messages", [])[row["num_given"] :]
    return "\n".join(message["content"] for message in messages) or str(row.get("text", ""))
