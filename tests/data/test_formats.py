from dataclasses import replace

import pytest

from retain.data.example import Example, Message, last_assistant
from retain.data.fault import BadRow
from retain.data.formats import convert, other_side, recognise
from retain.errors import DataError

ASKED = {"role": "user", "content": "who?"}
SAID = {"role": "assistant", "content": "the cat"}


def example_of(row, **options):
    return convert(row, recognise(row), "here", **options)


def spoken(example):
    return [(message["role"], message["content"]) for message in example.messages]


def test_messages():
    example = example_of({"messages": [ASKED, SAID]})
    assert example.messages == (Message(**ASKED), Message(**SAID))
    assert example.reference == "the cat"
    assert example.source == "here"


@pytest.mark.parametrize("switch", [{"train": False}, {"weight": 0}, {"weight": 0.0}])
def test_a_turn_can_be_switched_off(switch):
    example = example_of({"messages": [ASKED, SAID | switch, ASKED, SAID | {"weight": 1}]})
    assert [m.get("train", True) for m in example.messages] == [True, False, True, True]


def test_all_turns_switched_off_is_a_fault():
    with pytest.raises(BadRow, match="switched off") as caught:
        example_of({"messages": [ASKED, SAID | {"train": False}]})
    assert caught.value.kind == "all tokens masked"


def test_parts_of_a_content_are_joined():
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "cat"}]
    assert example_of({"messages": [ASKED, SAID | {"content": parts}]}).reference == "the cat"


def test_completion_of_strings():
    example = example_of({"prompt": "2 + 2 =", "completion": " 4"})
    assert spoken(example) == [("user", "2 + 2 ="), ("assistant", " 4")]
    assert example.is_completion


def test_completion_of_messages_trains_the_completion_only():
    example = example_of({"prompt": [ASKED, SAID, ASKED], "completion": [SAID]})
    assert [m.get("train", True) for m in example.messages] == [True, False, True, True]
    assert not example.is_completion


def test_text():
    assert example_of({"text": "देवदास\n"}).text == "देवदास\n"


def test_alpaca():
    row = {"instruction": "Name it.", "input": "", "output": "Cat.", "system": "Be short."}
    assert spoken(example_of(row)) == [
        ("system", "Be short."),
        ("user", "Name it."),
        ("assistant", "Cat."),
    ]
    row = {"instruction": "Name it.", "input": "a mat", "output": "Cat.", "history": [["a", "b"]]}
    assert spoken(example_of(row)) == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Name it.\n\na mat"),
        ("assistant", "Cat."),
    ]


def test_sharegpt():
    turns = [
        {"from": "system", "value": "s"},
        {"from": "human", "value": "who?"},
        {"from": "gpt", "value": "the cat", "weight": 0},
        {"from": "observation", "value": "o"},
        {"from": "gpt", "value": "the dog"},
    ]
    example = example_of({"conversations": turns, "id": 3})
    assert [m["role"] for m in example.messages] == [
        "system", "user", "assistant", "tool", "assistant",
    ]  # fmt: skip
    assert [m.get("train", True) for m in example.messages] == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("choices", "answer", "index"),
    [
        (["one", "two", "three"], 2, 2),
        (["one", "two", "three"], "C", 2),
        (["one", "two", "three"], "three", 2),
        (["one", "two", "three"], "2", 2),
        (["3", "2", "1"], "2", 1),
        (["B", "A"], "A", 1),
        (["no", "yes"], True, 1),
        (["True", "False"], False, 1),
        ({"text": ["x", "y"], "label": ["1", "2"]}, "2", 1),
        ({"text": ["x", "y"], "label": ["A", "B"]}, "B", 1),
    ],
)
def test_answers_by_index_letter_text_or_truth(choices, answer, index):
    example = example_of({"question": "which?", "choices": choices, "answer": answer})
    assert example.answer == index
    assert example.messages[-1]["content"] == example.choices[index]
    assert example.reference is None


def test_a_context_stands_before_the_question():
    row = {"question": "who?", "choices": ["a", "b"], "answer": 0, "passage": "The cat sat."}
    assert example_of(row).messages[0]["content"] == "The cat sat.\n\nwho?"


def test_item_and_label():
    row = {"text": "t", "item": 7, "label": True, "patient": "p3"}
    assert example_of(row).item == "7"
    assert example_of(row).label == "True"
    assert example_of(row, item_column="patient").item == "p3"


@pytest.mark.parametrize(
    ("row", "kind", "text"),
    [
        ({"text": None}, "missing column", "`text` is needed"),
        ({"text": 5}, "wrong type", "`text` must be a string, got int"),
        ({"text": " \n"}, "empty", "`text` has no text"),
        ({"messages": "hi"}, "wrong type", "must be a list, got str"),
        ({"messages": []}, "empty", "empty list"),
        ({"messages": ["hi"]}, "wrong type", "`messages` 1 must be an object"),
        ({"messages": [ASKED]}, "empty", "no assistant turn"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "wrong type", "role 'boss'"),
        ({"messages": [ASKED | {"content": None}]}, "wrong type", "`content` must be a string"),
        ({"messages": [ASKED | {"content": "  "}]}, "empty", "has no text"),
        ({"messages": [ASKED, SAID | {"train": 1}]}, "wrong type", "`train` must be true or false"),
        ({"messages": [ASKED, SAID | {"weight": 0.5}]}, "wrong type", "`weight` must be 0 or 1"),
        ({"messages": [ASKED | {"content": [{"type": "image"}]}]}, "wrong type", "only parts"),
        ({"messages": [SAID | {"tool_calls": [1]}]}, "wrong type", "tool_calls"),
        ({"prompt": "a", "completion": [SAID]}, "wrong type", "got str and list"),
        ({"prompt": "a", "completion": ""}, "empty", "`completion` has no text"),
        ({"instruction": "a", "output": 3}, "wrong type", "`output` must be a string"),
        ({"instruction": "a", "output": "b", "history": ["c"]}, "wrong type", "`history`"),
        ({"conversations": [{"from": "x", "value": "y"}]}, "wrong type", "from 'x'"),
        ({"question": "q", "choices": "ab", "answer": 0}, "wrong type", "list of strings"),
        ({"question": "q", "choices": ["a"], "answer": 0}, "empty", "at least two"),
        ({"question": "q", "choices": ["a", "a"], "answer": 0}, "duplicate", "the same"),
        ({"question": "q", "choices": ["a", "b"], "answer": 2}, "wrong type", "no index"),
        ({"question": "q", "choices": ["a", "b"], "answer": -1}, "wrong type", "no index"),
        ({"question": "q", "choices": ["a", "b"], "answer": "C"}, "wrong type", "neither"),
        ({"question": "q", "choices": ["a", "b"], "answer": True}, "wrong type", "neither"),
    ],
)
def test_a_bad_row_says_what_is_wrong(row, kind, text):
    with pytest.raises(BadRow, match=text) as caught:
        example_of(row)
    assert caught.value.kind == kind


def test_unknown_columns_are_named_with_the_known_formats():
    with pytest.raises(DataError, match=r"columns \(body, title\) fit no known format.*messages"):
        recognise({"title": 1, "body": 2})
    with pytest.raises(DataError, match=r"columns \(none\)"):
        recognise({})


def test_ambiguous_columns_ask_for_the_format():
    row = {"text": "t", "instruction": "i", "output": "o"}
    with pytest.raises(DataError, match=r"several formats: text, alpaca.*`format: text`"):
        recognise(row)
    assert recognise(row, "alpaca") == "alpaca"


def test_an_unknown_format_is_guessed():
    with pytest.raises(DataError, match="Did you mean 'alpaca'"):
        recognise({}, "alpacca")


@pytest.mark.parametrize(
    ("row", "other"),
    [
        ({"text": "नमस्ते", "english": "hello"}, {"text": "hello"}),
        (
            {"prompt": "क?", "completion": "ख", "english": {"prompt": "a?", "completion": "b"}},
            {"messages": [("user", "a?"), ("assistant", "b")]},
        ),
        (
            {
                "prompt": "क?",
                "completion": "ख",
                "english": [
                    {"role": "user", "content": "a?"},
                    {"role": "assistant", "content": "b"},
                ],
            },
            {"messages": [("user", "a?"), ("assistant", "b")]},
        ),
    ],
)
def test_the_other_side_of_a_pair(row, other):
    example = convert(row, recognise(row), "mine")
    found = other_side(row, "english", example)
    assert found.text == other.get("text")
    turns = [(one["role"], one["content"]) for one in found.messages or ()]
    assert turns == other.get("messages", [])
    paired = replace(example, parallel=found)
    assert paired.id == example.id
    assert Example.from_json(paired.to_json()) == paired


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "क"}, "`english`, the other side of the pair, is not there; columns: text"),
        ({"text": "क", "english": 3}, "must be a text or a dialogue, got int"),
        (
            {"text": "क", "english": {"question": "a"}},
            r"`english`: the columns \(question\) fit no",
        ),
        (
            {"text": "क", "english": {"prompt": "a", "completion": "b"}},
            "must be a text, as its own",
        ),
        ({"prompt": "क", "completion": "ख", "english": "a"}, "must be a dialogue, such as"),
    ],
)
def test_what_cannot_be_the_other_side(row, message):
    example = convert(row, recognise(row), "mine")
    with pytest.raises(BadRow, match=message):
        other_side(row, "english", example)


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"prompt": "who?"}, [("user", "who?")]),
        (
            {"prompt": [ASKED, SAID, ASKED]},
            [("user", "who?"), ("assistant", "the cat"), ("user", "who?")],
        ),
        ({"instruction": "Translate.", "input": "who?"}, [("user", "Translate.\n\nwho?")]),
        ({"question": "who?", "label": "3"}, [("user", "who?")]),
        (
            {"messages": [{"role": "system", "content": "Short."}, ASKED]},
            [("system", "Short."), ("user", "who?")],
        ),
        ({"messages": [ASKED, SAID]}, [("user", "who?")]),
        ({"prompt": "who?", "completion": "the cat"}, [("user", "who?")]),
        ({"instruction": "who?", "output": "the cat", "text": "all of it"}, [("user", "who?")]),
    ],
)
def test_a_prompt_needs_no_answer(row, asked):
    example = convert(row, recognise(row, "prompts"), "here")
    assert spoken(example)[: last_assistant(example.messages)] == asked


def test_prompts_are_asked_for_and_teach_nothing():
    with pytest.raises(DataError, match="fit no known format"):
        recognise({"prompt": "who?"})
    example = convert({"prompt": "who?"}, "prompts", "here")
    assert not any(m.get("train", True) for m in example.messages if m["role"] == "assistant")
    assert convert({"text": "A text."}, "prompts", "here").text == "A text."
    with pytest.raises(BadRow, match="stands in one of prompt, instruction, question, messages"):
        convert({"reply": "the cat"}, "prompts", "here")
    with pytest.raises(BadRow, match="has no text"):
        convert({"prompt": " "}, "prompts", "here")
