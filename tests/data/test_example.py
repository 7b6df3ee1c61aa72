import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.data.example import Example, Message, dumps, last_assistant

QUESTION = (Message(role="user", content="the cat?"), Message(role="assistant", content="sat"))

texts = st.text(min_size=1)
turns = st.builds(
    lambda role, content: Message(role=role, content=content),
    st.sampled_from(["user", "system", "tool"]),
    texts,
)


@given(
    messages=st.lists(turns, max_size=3),
    answer=texts,
    choices=st.none() | st.lists(texts, min_size=2, max_size=4, unique=True),
    label=st.none() | texts,
    item=st.just("") | texts,
    is_completion=st.booleans(),
)
@settings(deadline=None)
def test_an_example_survives_json(messages, answer, choices, label, item, is_completion):
    example = Example(
        source="s",
        messages=(*messages, Message(role="assistant", content=answer)),
        choices=None if choices is None else tuple(choices),
        answer=None if choices is None else 0,
        reference=answer,
        label=label,
        item=item,
        is_completion=is_completion,
    )
    assert Example.from_json(json.loads(dumps(example.to_json()))) == example


def test_the_id_is_of_the_content_alone():
    one = Example(source="a", messages=QUESTION, item="7", label="x")
    assert one.id == Example(source="b", messages=QUESTION).id
    assert len(one.id) == 32
    assert int(one.id, 16) >= 0


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (QUESTION[0], Message(role="assistant", content="Sat"))},
        {"messages": (QUESTION[0], Message(role="assistant", content="sat", train=False))},
        {"choices": ("sat", "ran"), "answer": 0},
        {"reference": "sat"},
        {"is_completion": True},
    ],
)
def test_other_content_has_another_id(change):
    same = {"source": "a", "messages": QUESTION}
    assert Example(**same).id != Example(**same | change).id


def test_the_item_defaults_to_the_id():
    example = Example(source="a", text="the cat")
    assert example.item == example.id
    assert Example(source="a", text="the cat", item="4").item == "4"


def test_prompt_and_contents():
    example = Example(source="a", messages=QUESTION)
    assert example.prompt == QUESTION[:1]
    assert example.contents == ("the cat?", "sat")
    assert Example(source="a", text="t").contents == ("t",)
    assert Example(source="a", text="t").prompt == ()


def test_last_assistant():
    assert last_assistant((*QUESTION, *QUESTION)) == 3
    with pytest.raises(ValueError, match="no assistant turn"):
        last_assistant(QUESTION[:1])
