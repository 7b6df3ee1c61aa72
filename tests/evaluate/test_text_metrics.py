"""Metrics of written answers, in any script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.evaluate.text_metrics import chrf, exact_match, rouge_l, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("मेरो नाम राम हो।", ["मेरो", "नाम", "राम", "हो"]),
        ("Straße, STRASSE", ["strasse", "strasse"]),
        ("我是人。", ["我", "是", "人"]),
        ("  ", []),
    ],
)
def test_words_in_any_script(text, expected):
    assert words(text) == expected


@given(left=st.text(max_size=40), right=st.text(max_size=40))
def test_rouge_l_is_symmetric_and_bounded(left, right):
    value = rouge_l(left, right)
    assert 0 <= value <= 1
    assert value == rouge_l(right, left)
    assert rouge_l(left, left) == (1 if words(left) else 0)


def test_rouge_l_by_hand():
    """Longest common subsequence "police the gunman", 3 of 4 words on both sides (Lin 2004)."""
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(0.75)


def test_exact_match_ignores_spaces_and_spelling_of_accents():
    assert exact_match(" café\n", "cafe\u0301") == 1.0
    assert exact_match("Café", "café") == 0.0


def test_chrf_is_out_of_a_hundred():
    assert chrf("the cat", "the cat") == 100
    assert chrf("xyz", "the cat") == 0
