"""The files of a written corpus, for those who read it: nothing here needs a model."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from retain.rehearse.diversity import report

CORPUS, FACTS = "corpus.jsonl", "facts.json"


def written_of(row: Mapping[str, Any]) -> str:
    """What the model wrote of a line of a corpus."""
    messages = row.get("messages", [])[row["num_given"] :]
    return "\n".join(message["content"] for message in messages) or str(row.get("text", ""))


def added_of(row: Mapping[str, Any]) -> str:
    """What a line adds to those before it: of a whole dialogue, what follows the known answers."""
    messages = row.get("messages", [])
    known = [place for place, one in enumerate(messages) if one.get("train") is False]
    if not known:
        return written_of(row)
    return "\n".join(message["content"] for message in messages[known[-1] + 1 :])


def given_of(row: Mapping[str, Any]) -> list[str]:
    """The messages of a line that the model was given."""
    return [message["content"] for message in row.get("messages", [])[: row["num_given"]]]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A corpus as a file, a document a line."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def facts_of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the lines of a corpus say of it themselves."""
    depths = [row["depth"] for row in rows]
    return {
        "num_documents": len(rows),
        "num_tokens": sum(row["num_tokens"] for row in rows),
        "by_depth": {str(depth): depths.count(depth) for depth in sorted(set(depths))},
        "diversity": report([added_of(row) for row in rows], depths),
    }
