"""The canonical example: what every source becomes and every later module reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NotRequired, TypedDict

NUM_ID_DIGITS = 32  # 128 bits: no two of 10**12 examples collide


class Message(TypedDict):
    """One turn. ``train`` False takes an assistant turn out of the loss; absent means True."""

    role: str
    content: str
    train: NotRequired[bool]


@dataclass(frozen=True)
class Example:
    """One thing to learn from or to be asked; either ``messages`` or ``text`` is there.

    Attributes:
        source: Name of the source it came from, such as ``embedded:boolq``.
        messages: A dialogue. Assistant turns are what is learnt.
        text: Running text; every token is learnt.
        choices: What the assistant could say in place of its last turn.
        answer: Index of the right choice.
        reference: What the assistant should say in its last turn, where there are no choices.
        label: Its class, for balanced splits.
        item: The source item it belongs to (a passage, a patient, an original and its
            translations); a split never parts an item. Defaults to the id.
        is_completion: Prompt and completion were given as strings, so that a tokenizer without a
            chat template joins them exactly as they are.
        parallel: The same in another language, where the source has pairs and that was asked.
        canary: A benchmark's mark that tells crawlers to leave its text out of training corpora;
            it stays with the example in every file.
        id: 32 hex digits of the sha256 of the content: of all the above but source, label, item,
            parallel and canary. Equal content has equal id, wherever it stands.
    """

    source: str
    messages: tuple[Message, ...] | None = None
    text: str | None = None
    choices: tuple[str, ...] | None = None
    answer: int | None = None
    reference: str | None = None
    label: str | None = None
    item: str = ""
    is_completion: bool = False
    parallel: "Example | None" = None
    canary: str | None = None
    id: str = field(init=False)

    def __post_init__(self) -> None:
        assert (self.messages is None) != (self.text is None), "either messages or text"
        content = {
            "messages": self.messages,
            "text": self.text,
            "choices": self.choices,
            "answer": self.answer,
            "reference": self.reference,
            "is_completion": self.is_completion,
        }
        digest = sha256(dumps(content).encode()).hexdigest()
        object.__setattr__(self, "id", digest[:NUM_ID_DIGITS])
        if not self.item:
            object.__setattr__(self, "item", self.id)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last assistant turn; () for a text."""
        return self.messages[: last_assistant(self.messages)] if self.messages else ()

    @property
    def contents(self) -> tuple[str, ...]:
        """Every piece of text in it, in order."""
        if self.messages is None:
            return (self.text or "",)
        return tuple(message["content"] for message in self.messages)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with only the fields that are there."""
        values = {
            "id": self.id,
            "item": self.item,
            "source": self.source,
            "messages": None if self.messages is None else [dict(m) for m in self.messages],
            "text": self.text,
            "choices": None if self.choices is None else list(self.choices),
            "answer": self.answer,
            "reference": self.reference,
            "label": self.label,
            "is_completion": self.is_completion or None,
            "parallel": None if self.parallel is None else self.parallel.to_json(),
            "canary": self.canary,
        }
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Example":
        """The example again; ``id`` and unknown fields (such as ``role``) are not read."""
        messages, choices = values.get("messages"), values.get("choices")
        parallel = values.get("parallel")
        return cls(
            source=values["source"],
            messages=None if messages is None else tuple(messages),
            text=values.get("text"),
            choices=None if choices is None else tuple(choices),
            answer=values.get("answer"),
            reference=values.get("reference"),
            label=values.get("label"),
            item=values.get("item", ""),
            is_completion=values.get("is_completion", False),
            parallel=None if parallel is None else cls.from_json(parallel),
            canary=values.get("canary"),
        )


def last_assistant(messages: tuple[Message, ...]) -> int:
    """Index of the last assistant turn.

    Raises:
        ValueError: If there is none.
    """
    for index in range(len(messages) - 1, -1, -1):
        if messages[index]["role"] == "assistant":
            return index
    raise ValueError("no assistant turn")


def dumps(value: object) -> str:
    """One line of JSON, the same for equal values: keys sorted, no spaces, Unicode as it is."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
