"""The known shapes of a row, recognised by its columns, and their way into an Example.

=============  ===============================================================================
messages       ``messages``: list of {role, content}, each perhaps with ``train`` or ``weight``
completion     ``prompt`` + ``completion``: two strings, or two lists of messages
text           ``text``: running text
alpaca         ``instruction`` + ``output``, perhaps ``input``, ``system``, ``history``
sharegpt       ``conversations``: list of {from, value}
choices        ``question`` + ``choices`` + ``answer`` (index, letter or text), perhaps ``context``
=============  ===============================================================================

``prompts`` is never recognised and has to be asked for: a row of any other format, or one with the
asking side alone (``prompt``, ``instruction``, ``question``, or ``messages`` that end with the
user's). Nothing of it can be trained on.

Every row may also have ``item``, ``split``, ``label``, ``license`` and ``canary``; others are left
alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from retain.data.example import Example, Message
from retain.data.fault import BadRow
from retain.data.fields import Values, kind_of, objects_of, optional_string, string
from retain.errors import DataError, did_you_mean

PROMPTS = "prompts"
ASKING = ("prompt", "instruction", "question")
"""Columns that hold a prompt, the first that is there."""
ROLES = ("system", "developer", "user", "assistant", "tool")
SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "observation": "tool",
}


def recognise(columns: Iterable[str], format: str | None = None) -> str:
    """The name of the one format that the columns make.

    Args:
        columns: Names of the columns.
        format: Asked for by the user: it is only checked to exist.

    Raises:
        DataError: If no format fits, or more than one; names the columns and the known formats.
    """
    if format is not None:
        if format not in FORMATS:
            raise DataError(did_you_mean("format", format, list(FORMATS)))
        return format
    got = set(columns)
    fits = [name for name, required in _by_columns() if got.issuperset(required)]
    if len(fits) == 1:
        return fits[0]
    listed = ", ".join(sorted(got)) or "none"
    if fits:
        raise DataError(
            f"the columns ({listed}) fit several formats: {', '.join(fits)}; "
            f"say which, such as `format: {fits[0]}`"
        )
    known = "; ".join(f"{name}: {' + '.join(required)}" for name, required in _by_columns())
    raise DataError(
        f"the columns ({listed}) fit no known format. Known: {known}. "
        "In a recipe, `columns: {prompt: NAME, completion: NAME}` says what yours are called"
    )


def _by_columns() -> Iterator[tuple[str, tuple[str, ...]]]:
    """The formats that columns tell, and which."""
    return ((name, required) for name, (required, _) in FORMATS.items() if name != PROMPTS)


def renamed(values: Values, columns: Mapping[str, str]) -> dict[str, Any]:
    """A row under a format's own names.

    Args:
        values: The row.
        columns: The row's name of each column that it calls otherwise; a column that another is
            renamed over is left out.

    Raises:
        BadRow: If the row has no such column.

    >>> renamed({"frage": "2 + 2?", "prompt": "old"}, {"prompt": "frage"})
    {'prompt': '2 + 2?'}
    """
    for name, own in columns.items():
        if own not in values:
            there = ", ".join(map(str, values)) or "none"
            text = f"`{own}`, which is to be `{name}`, is not there; columns: {there}"
            raise BadRow("missing column", text)
    taken = {*columns, *columns.values()}
    rest = {name: value for name, value in values.items() if name not in taken}
    return rest | {name: values[own] for name, own in columns.items()}


def convert(values: Values, format: str, source: str, item_column: str = "item") -> Example:
    """The example that a row means.

    Args:
        values: The row.
        format: One of :data:`FORMATS`.
        source: Name of the source, kept in the example.
        item_column: Column that says which rows belong together.

    Raises:
        BadRow: If a column is missing, empty or of a wrong type.
    """
    required, converter = FORMATS[format]
    for column in required:
        if values.get(column) is None:
            raise BadRow("missing column", f"`{column}` is needed by the format {format}")
    fields = converter(values)
    item, label = values.get(item_column), values.get("label")
    return Example(
        source=source,
        item="" if item is None else str(item),
        label=None if label is None else str(label),
        canary=None if values.get("canary") is None else str(values["canary"]),
        **fields,
    )


def other_side(values: Values, column: str, example: Example) -> Example:
    """The other side of a row that is a pair: a text for a text, a dialogue for a dialogue.

    Args:
        values: The row.
        column: Where the other side stands: a string, a list of messages, or an object in one of
            :data:`FORMATS`.
        example: What the row's own side became.

    Raises:
        BadRow: If it is not there, or is no such thing.
    """
    given = values.get(column)
    if given is None:
        there = ", ".join(sorted(values))
        text = f"`{column}`, the other side of the pair, is not there; columns: {there}"
        raise BadRow("missing column", text)
    row = {"text": given} if isinstance(given, str) else given
    row = {"messages": given} if isinstance(given, list | tuple) else row
    if not isinstance(row, Mapping):
        raise BadRow("wrong type", f"`{column}` must be a text or a dialogue, got {kind_of(given)}")
    try:
        other = convert(row, recognise(row), example.source)
    except DataError as error:
        raise BadRow("wrong type", f"`{column}`: {error}") from error
    if (other.text is None) != (example.text is None):
        wanted = "a dialogue, such as {prompt, completion}" if example.text is None else "a text"
        raise BadRow("wrong type", f"`{column}` must be {wanted}, as its own side is")
    return other


# ---------------------------------------------------------------- messages


def _content(message: Mapping[str, Any], place: str) -> str:
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        parts = [text for text in texts if isinstance(text, str)]
        if len(parts) < len(content):
            raise BadRow("wrong type", f"{place}: only parts with `text` are known")
        content = "".join(parts)
    if message.get("tool_calls"):
        raise BadRow("wrong type", f"{place}: `tool_calls` cannot be trained on yet")
    if not isinstance(content, str):
        raise BadRow("wrong type", f"{place}: `content` must be a string, got {kind_of(content)}")
    if not content.strip():
        raise BadRow("empty", f"{place}: `content` has no text")
    return content


def _is_trained(message: Mapping[str, Any], place: str) -> bool:
    """``train: false`` and ``weight: 0`` both switch a turn off."""
    train, weight = message.get("train"), message.get("weight")
    if train is not None and not isinstance(train, bool):
        raise BadRow("wrong type", f"{place}: `train` must be true or false, got {train!r}")
    if weight is not None and weight not in (0, 1):
        raise BadRow("wrong type", f"{place}: `weight` must be 0 or 1, got {weight!r}")
    return train is not False and weight != 0


def _messages(values: Values, column: str) -> list[Message]:
    messages: list[Message] = []
    for number, given in enumerate(objects_of(values, column), start=1):
        place = f"`{column}` {number}"
        role = given.get("role")
        if role not in ROLES:
            raise BadRow("wrong type", f"{place}: role {role!r} is not one of {', '.join(ROLES)}")
        message = Message(role=role, content=_content(given, place))
        if not _is_trained(given, place):
            message["train"] = False
        messages.append(message)
    return messages


def _dialogue(messages: list[Message]) -> dict[str, Any]:
    """Fields of a dialogue; what the last assistant turn says is its reference."""
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        raise BadRow("empty", "no assistant turn, so nothing to learn")
    if not any(message.get("train", True) for message in answers):
        raise BadRow("all tokens masked", "every assistant turn is switched off")
    return {"messages": tuple(messages), "reference": answers[-1]["content"]}


def _from_messages(values: Values) -> dict[str, Any]:
    return _dialogue(_messages(values, "messages"))


def _from_completion(values: Values) -> dict[str, Any]:
    prompt, completion = values["prompt"], values["completion"]
    if isinstance(prompt, str) and isinstance(completion, str):
        messages = [
            Message(role="user", content=string(values, "prompt")),
            Message(role="assistant", content=string(values, "completion")),
        ]
        return _dialogue(messages) | {"is_completion": True}
    if not (isinstance(prompt, list | tuple) and isinstance(completion, list | tuple)):
        got = f"{kind_of(prompt)} and {kind_of(completion)}"
        text = f"`prompt` and `completion` must be two strings or two lists of messages, got {got}"
        raise BadRow("wrong type", text)
    before = _messages(values, "prompt")
    for message in before:
        if message["role"] == "assistant":
            message["train"] = False
    return _dialogue([*before, *_messages(values, "completion")])


def _from_text(values: Values) -> dict[str, Any]:
    return {"text": string(values, "text")}


def _from_alpaca(values: Values) -> dict[str, Any]:
    messages: list[Message] = []
    if system := optional_string(values, "system").strip():
        messages.append(Message(role="system", content=system))
    for turn in values.get("history") or ():
        if not (isinstance(turn, list | tuple) and [type(part) for part in turn] == [str, str]):
            raise BadRow("wrong type", "`history` must be a list of [question, answer] strings")
        messages.append(Message(role="user", content=turn[0]))
        messages.append(Message(role="assistant", content=turn[1]))
    asked = string(values, "instruction")
    if given := optional_string(values, "input").strip():
        asked = f"{asked}\n\n{given}"
    messages.append(Message(role="user", content=asked))
    messages.append(Message(role="assistant", content=string(values, "output")))
    return _dialogue(messages)


def _from_sharegpt(values: Values) -> dict[str, Any]:
    turns = []
    for number, turn in enumerate(objects_of(values, "conversations"), start=1):
        role = turn.get("from")
        if role not in SHAREGPT_ROLES:
            known = ", ".join(SHAREGPT_ROLES)
            raise BadRow("wrong type", f"`conversations` {number}: from {role!r}; known: {known}")
        renamed = {"role": SHAREGPT_ROLES[role], "content": turn.get("value")}
        turns.append(turn | renamed)
    if system := optional_string(values, "system").strip():
        turns.insert(0, {"role": "system", "content": system})
    return _dialogue(_messages({"conversations": turns}, "conversations"))


# ---------------------------------------------------------------- prompts alone


def _from_prompts(values: Values) -> dict[str, Any]:
    """A prompt behind which nothing stands: an answer without text, which is not trained."""
    present = {name for name, value in values.items() if value is not None}
    whole = (
        name for name, required in _by_columns() if len(required) > 1 and present >= {*required}
    )
    if (format := next(whole, None)) is not None:
        return FORMATS[format][1](values)
    column = next((name for name in ("messages", *ASKING, "text") if name in present), None)
    if column is None:
        there = ", ".join(sorted(present)) or "none"
        wanted = ", ".join((*ASKING, "messages"))
        raise BadRow("missing column", f"a prompt stands in one of {wanted}; columns: {there}")
    if column == "text":
        return _from_text(values)
    if isinstance(values[column], list | tuple):
        asked = _messages(values, column)
    else:
        given = optional_string(values, "input").strip() if column == "instruction" else ""
        text = "\n\n".join(filter(None, (string(values, column), given)))
        asked = [Message(role="user", content=text)]
    if asked[-1]["role"] == "assistant":
        return _dialogue(asked)
    return {"messages": (*asked, Message(role="assistant", content="", train=False))}


# ---------------------------------------------------------------- choices


def _from_choices(values: Values) -> dict[str, Any]:
    question = string(values, "question")
    context = optional_string(values, "context") or optional_string(values, "passage")
    choices, letters = _choices(values["choices"])
    answer = _answer(values["answer"], choices, letters)
    asked = f"{context}\n\n{question}" if context.strip() else question
    messages = (
        Message(role="user", content=asked),
        Message(role="assistant", content=choices[answer]),
    )
    return {"messages": messages, "choices": tuple(choices), "answer": answer}


def _choices(given: Any) -> tuple[list[str], list[str]]:
    """Choice texts and the letters that name them."""
    texts, letters = given, None
    if isinstance(given, dict):
        texts, letters = given.get("text"), given.get("label")
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise BadRow("wrong type", "`choices` must be a list of strings")
    if len(texts) < 2 or not all(text.strip() for text in texts):
        raise BadRow("empty", "`choices` must hold at least two texts, none of them empty")
    if len(set(texts)) < len(texts):
        raise BadRow("duplicate", "two of the `choices` are the same")
    if letters is None:
        letters = [chr(ord("A") + index) for index in range(min(len(texts), 26))]
    return list(texts), [str(letter) for letter in letters]


def _answer(given: Any, choices: list[str], letters: list[str]) -> int:
    """Index of the right choice: an index from 0, one of the texts, a letter, or "yes"/"no"."""
    if isinstance(given, bool):
        given = next(
            (c for c in choices if c.lower() in (("true", "yes") if given else ("false", "no"))),
            given,
        )
    if isinstance(given, int) and not isinstance(given, bool):
        if 0 <= given < len(choices):
            return given
        raise BadRow(
            "wrong type", f"`answer` {given} is no index of {len(choices)} choices (from 0)"
        )
    if isinstance(given, str):
        if given in choices:
            return choices.index(given)
        if given.strip() in letters:
            return letters.index(given.strip())
        if given.isdecimal() and int(given) < len(choices):
            return int(given)
    raise BadRow(
        "wrong type",
        f"`answer` {given!r} is neither an index, a letter nor the text of one of {choices}",
    )


FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Values], dict[str, Any]]]] = {
    "messages": (("messages",), _from_messages),
    "completion": (("prompt", "completion"), _from_completion),
    "text": (("text",), _from_text),
    "alpaca": (("instruction", "output"), _from_alpaca),
    "sharegpt": (("conversations",), _from_sharegpt),
    "choices": (("question", "choices", "answer"), _from_choices),
    PROMPTS: ((), _from_prompts),
}
