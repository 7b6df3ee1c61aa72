import pytest

from retain.data.example import Example, Message
from retain.data.leak import Overlap, find, normalise, refuse, texts
from retain.errors import DataError

LONG = "What is the longest bone of the human body, and where is it?"


def dialogue(asked, said):
    messages = (Message(role="user", content=asked), Message(role="assistant", content=said))
    return Example(source="s", messages=messages)


def test_case_and_white_space_do_not_hide_a_copy():
    train = [("train 1", "something else"), ("train 2", "  THE Cat\tsat\n")]
    assert find(train, [("item 1", "the cat sat"), ("item 2", "the cat")]) == [
        Overlap("train 2", "item 1", "the cat sat")
    ]
    assert normalise("\uff34\uff28\uff25  \ufb01n") == "the fin"


def test_every_item_is_named_with_the_first_place():
    train = [("a", "x"), ("b", "x"), ("c", "y")]
    found = find(train, [("1", "y"), ("2", "x"), ("3", "X"), ("4", "z"), ("5", " ")])
    assert [(one.train, one.item) for one in found] == [("c", "1"), ("a", "2"), ("a", "3")]


def test_a_prompt_gives_an_example_away_when_it_is_long_enough():
    assert texts(dialogue(LONG, "the femur")) == [f"{LONG}\nthe femur", LONG]
    assert texts(dialogue("Translate:", "the cat")) == ["Translate:\nthe cat"]
    assert texts(Example(source="s", text="t")) == ["t"]
    train = [("t", one) for one in texts(dialogue(LONG, "the femur"))]
    assert len(find(train, [("i", one) for one in texts(dialogue(LONG, "the skull"))])) == 1


def test_an_overlap_stops_the_run_with_places():
    overlaps = [Overlap(f"train {n}", f"item {n}", LONG) for n in range(9)]
    with pytest.raises(
        DataError, match=r"p: 9 evaluated texts.*\n  train 0 is item 0: 'What"
    ) as caught:
        refuse(overlaps, "p")
    assert "allow_overlap: true" in str(caught.value)
    assert "train 5" not in str(caught.value)
    refuse([], "p")


def test_a_hundred_thousand_texts_are_searched():
    train = ((str(n), f"text {n}") for n in range(100_000))
    assert len(find(train, [(str(n), f"Text  {n}") for n in range(0, 200_000, 1000)])) == 100
