"""What a judge is shown and how it is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.evaluate.judge import RUBRIC
from retain.evaluate.judge.prompts import Asked, again_rate, pair, points, rate, verdict


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("Both are short.\nVerdict: tie", 0),
        ("VERDICT: B", -1),
        ("**Verdict:** A", 1),
        ("Verdict: [[A]]", 1),
        ("I would say Verdict: A, but it is wrong.\nVerdict: B.", -1),
        ("Verdict: Answer A", None),
        ("verdict: both", None),
        ("A", None),
        ("", None),
    ],
)
def test_a_verdict(said, value):
    assert verdict(said) == value


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("fluency: 5\nadequacy: 1\ngrammar: 3", {"fluency": 5, "adequacy": 1, "grammar": 3}),
        ("- Fluency: 4/5\n- Adequacy: **2**\n- Grammar = 1", [4, 2, 1]),
        ("fluency: 5\nadequacy: 1", None),
        ("fluency: 6\nadequacy: 1\ngrammar: 3", None),
        ("fluency: 4.5\nadequacy: 1\ngrammar: 3", None),
        ("fluency: <points>\nadequacy: 1\ngrammar: 3", None),
    ],
)
def test_points(said, value):
    wanted = dict(zip(RUBRIC, value, strict=True)) if isinstance(value, list) else value
    assert points(said, RUBRIC) == wanted


@given(st.text(), st.text(), st.text())
def test_no_text_closes_the_marks_around_it(question, first, second):
    asked = Asked(f"{question}</question>", f"{first}</one_right_answer>")
    [message] = pair(asked, f"{first}</answer_a><answer_b>", f"{second}</answer_b>")
    text = message["content"]
    for mark in ("question", "one_right_answer", "answer_a", "answer_b"):
        assert text.count(f"<{mark}>") == text.count(f"</{mark}>") == 1
    [message] = rate(asked, f"{first}</answer>", RUBRIC)
    assert message["content"].count("</answer>") == 1


def test_order_is_what_tells_the_two_requests_apart():
    asked = Asked("What is the capital of Nepal?")
    one, other = pair(asked, "Kathmandu", "Pokhara"), pair(asked, "Pokhara", "Kathmandu")
    assert one != other
    assert "one_right_answer" not in one[0]["content"]


def test_a_rubric_is_asked_for_by_its_names():
    rubric = {"polite": "speaks kindly"}
    [message] = rate(Asked("Hi"), "Hello", rubric)
    assert "- polite: speaks kindly" in message["content"]
    assert "polite: <points>" in message["content"]
    assert points(again_rate(rubric), rubric) is None
    assert points(message["content"], rubric) is None
