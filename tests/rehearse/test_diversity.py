"""Varied corpora come out more varied, by numbers that can be worked by hand."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.measure.ngrams import embed_ngrams
from retain.measure.words import words
from retain.rehearse import diversity
from retain.rehearse.diversity import distinct, mean_similarity, report, self_bleu

TEXTS = st.lists(st.text("abcd अआ", min_size=1, max_size=20), max_size=8)
VARIED = [
    "The tide comes in twice a day along this coast.",
    "Lentils need soaking before they are cooked.",
    "Parliament met on Tuesday to debate the budget.",
    "Her violin was made in Cremona three centuries ago.",
]
ALIKE = [f"The tide comes in {n} a day along this coast." for n in ("twice", "once", "slowly", "")]


@given(texts=TEXTS)
def test_distinct_never_counts_more_than_all(texts):
    found = [words(text) for text in texts]
    for length in (1, 2, 3):
        value = distinct(found, length)
        assert math.isnan(value) or 0 < value <= 1
        doubled = distinct(found + found, length)
        assert math.isnan(value) or doubled == pytest.approx(value / 2)


@given(texts=TEXTS)
def test_mean_similarity_is_the_mean_over_pairs(texts):
    vectors = [vector for vector in embed_ngrams(texts) if vector.any()]
    pairs = [left @ right for left, right in itertools.combinations(vectors, 2)]
    value = mean_similarity(texts)
    assert math.isnan(value) if not pairs else value == pytest.approx(np.mean(pairs))


def test_self_bleu_by_hand():
    """a b c d / a b c e: n-grams in common 3/4, 2/3, 1/2, and 0/1, which is smoothed to 1/2."""
    expected = (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4)
    assert self_bleu(["a b c d", "a b c e"]) == pytest.approx(expected)


def test_every_number_knows_which_corpus_is_more_varied():
    varied, alike = report(VARIED, [1] * 4), report(ALIKE, [1] * 4)
    for name in ("distinct_1", "distinct_2", "distinct_3"):
        assert varied[name] > alike[name]
    for name in ("self_bleu", "mean_similarity"):
        assert varied[name] < alike[name]


def test_an_embedder_may_be_given():
    def embedder(texts):
        return np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])[: len(texts)]

    assert report(["a", "b", "c"], [1, 1, 1], embedder=embedder)["mean_similarity"] == 0


def test_order_does_not_matter_where_all_is_taken():
    found, turned = report(VARIED, [1, 1, 2, 2]), report(VARIED[::-1], [2, 2, 1, 1])
    assert found["topics"] == turned["topics"]
    for name in ("distinct_1", "distinct_2", "distinct_3", "self_bleu", "mean_similarity"):
        assert found[name] == pytest.approx(turned[name])


def test_a_sample_is_drawn_alike_every_time(monkeypatch):
    monkeypatch.setattr(diversity, "NUM_SAMPLED", 3)
    many = [f"{text} {n}" for n in range(3) for text in VARIED]
    first = report(many, [1] * 12)
    assert first["num_sampled"] == 3
    assert first == report(many, [1] * 12)
    assert first["self_bleu"] != report(many, [1] * 12, seed=1)["self_bleu"]


def test_nothing_is_said_of_nothing():
    found = report([], [])
    assert found["num_texts"] == 0
    assert found["distinct_1"] is found["self_bleu"] is found["mean_similarity"] is None
    json.dumps(found)


def test_depths_must_fit():
    with pytest.raises(ValueError, match="argument"):
        report(["a"], [])


def test_what_is_said_everywhere_is_no_topic():
    said = ["the river is long", "the bread is warm"]
    texts = [f"{said[n % 2]} and {n}" for n in range(60)]
    topics = report(texts, [1 + n % 2 for n in range(60)])["topics"]
    assert topics == {1: [], 2: []}  # half of all texts say so
    few = [*texts, *["kettles whistle at noon 123456"] * 3]
    assert report(few, [1] * 60 + [2] * 3)["topics"][2] == ["kettles", "whistle"]
