"""The columns of a row, each of the type it must have; a ``BadRow`` says which has not."""

from collections.abc import Mapping
from typing import Any

from retain.data.fault import BadRow

Values = Mapping[str, Any]


def string(values: Values, column: str, *, empty: bool = False) -> str:
    """A text; one of white space alone only where ``empty`` allows it."""
    value = values.get(column)
    if not isinstance(value, str):
        raise BadRow("wrong type", f"`{column}` must be a string, got {kind_of(value)}")
    if not empty and not value.strip():
        raise BadRow("empty", f"`{column}` has no text")
    return value


def kind_of(value: object) -> str:
    """What a value is, for messages."""
    return "null" if value is None else type(value).__name__


def optional_string(values: Values, column: str) -> str:
    """A text that may be missing or empty; "" then."""
    return "" if values.get(column) is None else string(values, column, empty=True)


def list_of(values: Values, column: str) -> list[Any]:
    """A list with something in it."""
    value = values.get(column)
    if not isinstance(value, list | tuple):
        raise BadRow("wrong type", f"`{column}` must be a list, got {kind_of(value)}")
    if not value:
        raise BadRow("empty", f"`{column}` is an empty list")
    return list(value)


def objects_of(values: Values, column: str) -> list[dict[str, Any]]:
    """A list of objects."""
    items = list_of(values, column)
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise BadRow(
                "wrong type", f"`{column}` {number} must be an object, got {kind_of(item)}"
            )
    return items
