"""Rows made into another shape by templates: ``{prompt: "Simplify: {source}", ...}``."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from retain.data.fault import BadRow

Template = Mapping[str, str | Sequence[str]]
COLUMN = re.compile(r"\{([^{}]*)\}")
KEPT = ("item", "split", "label", "license", "licence", "canary")
"""Columns that stay as they are unless the template says them anew."""


def fill(template: Template, values: Mapping[str, Any], item_column: str) -> dict[str, Any]:
    """The row that a template makes of a row.

    ``{column}`` stands for that column's text; where a template is one column and nothing else, its
    value is taken as it is, list or number too. Nothing else is special, no code is run.

    Args:
        template: New column to text with ``{column}`` in it, or to a list of such texts.
        values: The row.
        item_column: Kept too, as are ``item``, ``split``, ``label``, ``license`` and ``canary``.

    Raises:
        BadRow: If a column is not there, or is no text where a text is needed.

    >>> fill({"text": "{english}: {text}"}, {"english": "Copy", "text": "नक्कल"}, "item")
    {'text': 'Copy: नक्कल'}
    """
    made = {key: values[key] for key in (*KEPT, item_column) if key in values}
    for column, text in template.items():
        if isinstance(text, str):
            made[column] = _filled(text, values)
        else:
            made[column] = [_filled(one, values) for one in text]
    return made


def _filled(text: str, values: Mapping[str, Any]) -> Any:
    whole = COLUMN.fullmatch(text)
    if whole is not None:
        return _value(values, whole[1])
    return COLUMN.sub(lambda found: _text(values, found[1]), text)


def _value(values: Mapping[str, Any], column: str) -> Any:
    if values.get(column) is None:
        there = ", ".join(sorted(values))
        raise BadRow("missing column", f"`{column}`, named in the template; columns: {there}")
    return values[column]


def _text(values: Mapping[str, Any], column: str) -> str:
    value = _value(values, column)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRow("wrong type", f"`{column}` in a template must be a text, got {value!r:.40}")
    return str(value)
