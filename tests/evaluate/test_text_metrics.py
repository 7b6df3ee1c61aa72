"""Metrics of written answers, in any script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.evaluate.text_metrics import bleu, chrf, exact_match, rouge_1, rouge_l, sari
from retain.measure.words import words

TEXT = st.text("abकखि ।.", max_size=30)


@given(left=st.text(max_size=40), right=st.text(max_size=40))
def test_rouge_is_symmetric_and_bounded(left, right):
    for rouge in (rouge_1, rouge_l):
        value = rouge(left, right)
        assert 0 <= value <= 1
        assert value == rouge(right, left)
        assert rouge(left, left) == (1 if words(left) else 0)
    assert rouge_l(left, right) <= rouge_1(left, right)


def literal_rouge_l(left, right):
    """By the recursive definition of the longest common subsequence."""

    def common(one, other):
        if not one or not other:
            return 0
        if one[-1] == other[-1]:
            return 1 + common(one[:-1], other[:-1])
        return max(common(one[:-1], other), common(one, other[:-1]))

    ours, theirs = words(left), words(right)
    both = len(ours) + len(theirs)
    return 2 * common(ours, theirs) / both if both else 0.0


@given(left=st.text("ab ", max_size=12), right=st.text("ab ", max_size=12))
def test_rouge_l_agrees_with_a_literal_version(left, right):
    assert rouge_l(left, right) == pytest.approx(literal_rouge_l(left, right))


def test_rouge_l_by_hand():
    """Longest common subsequence "police the gunman", 3 of 4 words on both sides (Lin 2004)."""
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(0.75)


def test_rouge_of_devanagari_by_hand():
    """In common मेरो, राम and हो, of 4 and 4 words; in one order मेरो … हो, 2 of 4."""
    written, reference = "मेरो नाम राम हो।", "राम मेरो साथी हो ।"
    assert rouge_1(written, reference) == pytest.approx(3 / 4)
    assert rouge_l(written, reference) == pytest.approx(2 / 4)


def test_chrf_of_devanagari_by_hand():
    """मेरोघर has 6 characters, मेरोनाम 7; of 1 to 6 characters 4, 3, 2, 1, 0, 0 are in common."""
    precision = (4 / 6 + 3 / 5 + 2 / 4 + 1 / 3) / 6
    recall = (4 / 7 + 3 / 6 + 2 / 5 + 1 / 4) / 6
    expected = 100 * 5 * precision * recall / (4 * precision + recall)
    assert chrf("मेरो घर", "मेरो नाम") == pytest.approx(expected)


def test_bleu_of_devanagari_by_hand():
    """Of मेरो नाम राम हो, 3/4, 2/3, 1/2 n-grams are right, and 0/1, which is smoothed to 1/2."""
    expected = 100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4)
    assert bleu("मेरो नाम राम हो", "मेरो नाम राम थियो") == pytest.approx(expected)


def test_bleu_of_devanagari_splits_the_danda_off():
    assert bleu("मेरो नाम राम हो ।", "मेरो नाम राम हो।") == pytest.approx(100)


def test_sari_by_hand():
    """One reference; (F1 of add + F1 of keep + precision of delete) / 3 for 1 to 4 words."""
    one = (2 / 3 + 4 / 5 + 1 / 2) / 3
    two = (0 + 2 / 3 + 1 / 2) / 3
    three = (0 + 0 + 1 / 2) / 3
    four = (0 + 1 + 1) / 3  # nothing of the source is in the reference, nothing was kept: 1
    expected = 100 * (one + two + three + four) / 4
    assert sari("a b e", "a b c d", ["a b c e f"]) == pytest.approx(expected)
    assert sari("क ख ङ", "क ख ग घ", ["क ख ग ङ च"]) == pytest.approx(expected)


def test_sari_of_the_papers_example_is_in_the_papers_order():
    """Xu et al. 2016, section 4.3: the second is the best simplification, the first no sentence."""
    source = "About 95 species are currently accepted."
    references = [
        "About 95 species are currently known.",
        "About 95 species are now accepted.",
        "95 species are now accepted.",
    ]
    worst, best, middle = (
        sari(text, source, references)
        for text in (
            "About 95 you now get in.",
            "About 95 species are now agreed.",
            "About 95 species are currently agreed.",
        )
    )
    assert worst < middle < best


@given(written=TEXT, source=TEXT, references=st.lists(TEXT, min_size=1, max_size=3))
def test_sari_is_bounded_and_rewards_the_reference(written, source, references):
    value = sari(written, source, references)
    assert -1e-9 <= value <= 100 + 1e-9
    assert value == pytest.approx(sari(written, source, references[::-1]))
    assert sari(references[0], source, references[:1]) == pytest.approx(100)


def test_sari_needs_a_reference():
    with pytest.raises(ValueError, match="at least one reference"):
        sari("a", "a", [])


def test_exact_match_ignores_spaces_and_spelling_of_accents():
    assert exact_match(" café\n", "cafe\u0301") == 1.0
    assert exact_match("Café", "café") == 0.0


def test_chrf_is_out_of_a_hundred():
    assert chrf("the cat", "the cat") == 100
    assert chrf("xyz", "the cat") == 0
