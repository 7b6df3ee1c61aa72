"""Readers of the sets that stand in BIG-bench's task files; each row keeps its file's canary."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any

from retain.embedded import Entry
from retain.embedded.big_bench import DOMAINS

Row = dict[str, Any]
Files = dict[str, bytes]

SPLITS = ("first",) * 4 + ("second",) * 4 + ("test",) * 2
"""Which tenth of MultiEmo's source sentences belongs to which split, in every language."""
MAX_CHARACTERS = 1_000  # of a prompt
MAX_OF_EACH = 400  # examples of one subtask of Natural Instructions
MAX_QUESTIONS = 3_000  # where a set is one subtask alone
MAX_TURNS = 3_000
MAX_TALK = 600  # characters of a talk so far
NUM_REFERENCES = 3
LANGUAGE_NAMES = {"en": "English", "ru": "Russian"}


def multiemo(is_test: bool) -> Callable[[Entry, Files], Iterator[Row]]:
    """Sentences with one of four sentiments; the English one beside each says which item it is."""

    def rows(entry: Entry, files: Files) -> Iterator[Row]:
        by_label: dict[str, list[Row]] = defaultdict(list)
        for row in _sentences(entry, files):
            by_label[row["label"]].append(row)
        columns = [
            sorted(rows, key=lambda row: row["item"]) for _, rows in sorted(by_label.items())
        ]
        for turn in zip(*columns, strict=False):  # ends with the smallest class
            yield from (row for row in turn if (row["split"] == "test") == is_test)

    return rows


def _sentences(entry: Entry, files: Files) -> Iterator[Row]:
    """One row an item, and none of an item whose sentence was judged in two ways."""
    tasks = {path.split("/")[-2]: json.loads(content) for path, content in files.items()}
    found: dict[str, Row] = {}
    labels: dict[str, set[str]] = defaultdict(set)
    for domain in DOMAINS:
        own, english = (tasks[f"{domain}_sentence_{one}"] for one in (entry.language, "en"))
        for one, source in zip(own["examples"], english["examples"], strict=True):
            item = _key(_letters(source["input"]))
            choices = sorted(one["target_scores"])
            label = max(choices, key=one["target_scores"].__getitem__)
            labels[item].add(label)
            row = {
                "question": f"{own['task_prefix'].strip()}\n\n{one['input'].strip()}",
                "choices": choices,
                "answer": choices.index(label),
                "label": label,
                "item": item,
                "split": SPLITS[int(item, 16) % len(SPLITS)],
                "canary": own["canary"],
            }
            found.setdefault(item, row)
    return (row for item, row in found.items() if len(labels[item]) == 1)


def webnlg(entry: Entry, files: Files) -> Iterator[Row]:
    """Triples, and the first reference that tells them."""
    asked = f"Tell these facts in {LANGUAGE_NAMES[entry.language]}."
    for one in _examples(files):
        if one["target"] and one["target"][0].strip():
            facts = one["input"].replace("_", " ").strip()
            yield _row(f"{asked}\n\n{facts}", one["target"][0], facts, one)


def turk_corpus(entry: Entry, files: Files) -> Iterator[Row]:
    """A sentence with each of its first references; they are one item."""
    for one in _examples(files):
        sentence = one["input"].strip()
        for target in one["target"][:NUM_REFERENCES]:
            yield _row(f"Simplify this sentence.\n\n{sentence}", target, sentence, one)


def topical_chat(entry: Entry, files: Files) -> Iterator[Row]:
    """The talk so far, a turn a line; the conversation is the item."""
    short = [one for one in _examples(files) if len(one["input"]) <= MAX_TALK]
    for one in sorted(short, key=lambda one: _key(one["input"]))[:MAX_TURNS]:
        talk = re.sub(
            r'\s*agent_([AB]): "(.*?)"(?=\s*agent_[AB]: |\s*$)', r"\n\1: \2", one["input"]
        )
        asked = f"Write the next turn of this talk.\n\n{talk.strip()}"
        yield _row(asked, one["target"].strip().strip('"'), one["comment"], one)


def strategyqa(entry: Entry, files: Files) -> Iterator[Row]:
    """The answer and the reasons for it."""
    for one in _examples(files):
        question = one["input"].strip()
        yield _row(f"{question} Explain your answer.", one["target"], question, one)


def instructions(entry: Entry, files: Files) -> Iterator[Row]:
    """The short instruction of a subtask, an input, and its first right answer."""
    most = MAX_OF_EACH if len(files) > 1 else MAX_QUESTIONS
    for content in files.values():
        task = json.loads(content)
        asked = task["task_prefix"].rsplit("Prompt:", 1)[-1].strip()
        found = [
            _row(f"{asked}\n\n{one['input'].strip()}", one["target"][0], one["input"], task)
            for one in task["examples"]
            if "".join(one["target"][:1]).strip() and len(one["input"]) <= MAX_CHARACTERS
        ]
        yield from sorted(found, key=lambda row: _key(row["prompt"]))[:most]


READERS: Mapping[str, Callable[[Entry, Files], Iterator[Row]]] = {
    "instructions": instructions,
    "multiemo": multiemo(False),
    "multiemo_test": multiemo(True),
    "strategyqa": strategyqa,
    "topical_chat": topical_chat,
    "turk_corpus": turk_corpus,
    "webnlg": webnlg,
}


def _examples(files: Files) -> Iterator[Row]:
    """Every example with its file's canary."""
    for content in files.values():
        task = json.loads(content)
        for one in task["examples"]:
            yield one | {"canary": task["canary"]}


def _row(prompt: str, completion: str, item: str, carries: Mapping[str, Any]) -> Row:
    return {
        "prompt": prompt,
        "completion": completion.strip(),
        "item": _key(item),
        "canary": carries["canary"],
    }


def _key(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _letters(text: str) -> str:
    return re.sub(r"\W+", "", text.lower())
