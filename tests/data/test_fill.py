"""Templates: the columns asked for, nothing run, faults with their place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.data.fault import BadRow
from retain.data.fill import fill
from retain.data.sources import Source, load
from retain.errors import DataError


def test_columns_are_put_into_texts_and_lists():
    row = {"q": "Which?", "a": "one", "b": "two", "key": 1, "item": "x", "split": "test"}
    template = {"question": "Say: {q}", "choices": ["{a}", "{b}"], "answer": "{key}"}
    assert fill(template, row, "item") == {
        "question": "Say: Which?", "choices": ["one", "two"], "answer": 1, "item": "x",
        "split": "test",
    }  # fmt: skip


@given(st.text(), st.text())
def test_what_a_row_says_is_never_a_template(english, nepali):
    made = fill({"text": "{a}|{b}"}, {"a": english, "b": nepali}, "item")
    assert made == {"text": f"{english}|{nepali}"}


@pytest.mark.parametrize(
    ("template", "row", "told"),
    [
        ({"text": "{nothing} there"}, {"a": "1"}, "`nothing`.*columns: a"),
        ({"text": "{a.__class__}"}, {"a": "1"}, "`a.__class__`"),
        ({"text": "so {a}"}, {"a": ["1"]}, "must be a text"),
    ],
)
def test_what_cannot_be_filled_is_said(template, row, told):
    with pytest.raises(BadRow, match=told):
        fill(template, row, "item")


def test_a_source_with_a_template(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"english": f"Copy {n}", "text": f"नक्कल {n}", "item": f"i{n}"} for n in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    asked = {"prompt": "Translate: {english}", "completion": "{text}"}
    examples = load({"source": str(path), "template": asked}).examples
    assert [one.reference for one in examples] == [row["text"] for row in rows]
    assert [one.item for one in examples] == ["i0", "i1", "i2"]
    wrong = Source(str(path), template={"text": "{german}"})
    with pytest.raises(DataError, match=r"pairs\.jsonl:1.*`german`"):
        load(wrong)
