"""What data sets share: identity, symmetry, order of plainly near and far sets."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.measure.ngrams import embed_ngrams
from retain.measure.similarity import (
    Sides,
    answer_form,
    compare,
    cosine,
    des,
    make_up,
    overlap,
    portrait,
)

TEXTS = st.lists(st.text("abcd अआ", min_size=1, max_size=15), min_size=1, max_size=6)
COOKING = ["How long do lentils cook?", "How much salt does rice need?", "Who cooks rice?"]
KITCHEN = ["How much rice do I cook?", "How long does bread bake?"]
LAW = ["Parliament adopted the treaty.", "The court dismissed the appeal of the plaintiff."]


@given(texts=TEXTS, times=st.integers(2, 3))
def test_des_of_a_set_with_itself_repeated_and_turned_round(texts, times):
    value = des(texts, texts[::-1] * times)
    assert math.isnan(value) or value == pytest.approx(1)


@given(left=TEXTS, right=TEXTS)
def test_des_agrees_with_a_literal_version_and_is_symmetric(left, right):
    a = np.mean([embed_ngrams([text])[0] for text in left], axis=0)
    b = np.mean([embed_ngrams([text])[0] for text in right], axis=0)
    expected = math.nan
    if a.any() and b.any():
        expected = sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt((a @ a) * (b @ b))
    assert des(left, right) == pytest.approx(expected, nan_ok=True, abs=1e-9)
    assert des(right, left) == pytest.approx(des(left, right), nan_ok=True)


def test_near_sets_are_nearer_than_far_ones():
    assert des(COOKING, KITCHEN) > 0.3
    assert abs(des(COOKING, LAW)) < 0.1


def test_any_embedder_will_do():
    vectors = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [1.0, 1.0]}

    def embed(texts):
        return np.array([vectors[text] for text in texts])

    assert des(["a", "b"], ["c"], embed) == pytest.approx(1)
    assert des(["a"], ["b"], embed) == 0
    with pytest.raises(ValueError, match="both sides"):
        des([], ["a"], embed)


PARTS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), max_size=4)


@given(left=PARTS, right=PARTS)
def test_overlap_is_one_minus_total_variation(left, right):
    p, q = (
        make_up(letter for letter, num in side.items() for _ in range(num))
        for side in (left, right)
    )
    found = overlap(p, q)
    if not left or not right:
        assert math.isnan(found)
        return
    variation = sum(abs(p.get(letter, 0) - q.get(letter, 0)) for letter in "abcd") / 2
    assert found == pytest.approx(1 - variation)
    assert found == pytest.approx(overlap(q, p))
    assert overlap(p, p) == pytest.approx(1)


@pytest.mark.parametrize(
    ("example", "form"),
    [
        (Sides("Which?", "A cat", choices=True), "choice"),
        (Sides("", "Once there was a king."), "text"),
        (Sides("How?", "  "), "nothing"),
        (Sides("How many?", "-1,250.5 %"), "number"),
        (Sides("Write code.", "Here:\n```\nprint(1)\n```"), "code"),
        (Sides("As JSON.", '{"a": 1}'), "data"),
        (Sides("Name three.", "Three:\n- a\n- b\n2. c"), "list"),
        (Sides("Who?", "रामले गर्यो।"), "words"),
        (Sides("Why?", "Because the sun warms the sea."), "sentences"),
        (Sides("Why?", "Because of this.\n\nAnd because of that."), "paragraphs"),
        (Sides("?", "--"), "words"),
        (Sides("?", "1" * 50_000 + "x"), "words"),
    ],
)
def test_answer_forms(example, form):
    assert answer_form(example) == form


def test_a_portrait_says_what_a_set_is_made_of():
    found = portrait(
        [
            Sides("What is the capital city of Nepal?", "Kathmandu", choices=True),
            Sides("कृपया नेपालको राजधानी बारे एउटा वाक्य लेख्नुहोस्।", "यो काठमाडौं हो।"),
        ]
    )
    assert found.num_examples == 2
    assert found.languages == {"en": 0.5, "ne": 0.5}
    assert found.forms == {"choice": 0.5, "words": 0.5}
    assert found.words["kathmandu"] == found.words["नेपालको"]
    assert -1 <= found.halves < 0.5


def test_a_set_shares_all_with_itself_and_nothing_with_another_language():
    english = portrait([Sides("", "The river rises in the mountains of the north.")])
    nepali = portrait([Sides("", "यो नदी उत्तरका हिमालबाट बग्छ र धेरै लामो छ।")])
    same, other = compare(english, english), compare(english, nepali)
    assert list(vars(same).values()) == pytest.approx([1] * 5)
    assert (other.vocabulary, other.languages) == (0, 0)
    assert abs(other.des) < 0.1
    assert other.forms == 1


def test_one_example_has_no_halves_and_none_no_portrait():
    assert math.isnan(portrait([Sides("", "a b c")]).halves)
    with pytest.raises(ValueError, match="at least one example"):
        portrait([])


def test_nothing_has_no_cosine():
    assert math.isnan(cosine(np.zeros(3), np.ones(3)))
