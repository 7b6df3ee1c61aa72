"""Near duplicates: what a comparison of every pair would find."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.rehearse.near import Seen, jaccard, shingles, signature


def variants(num):
    """Sentences of which some differ by a word or a letter."""
    rng = np.random.default_rng(0)
    names = ["river", "mountain", "festival", "language", "kitchen", "history", "music", "poem"]
    frames = [
        "Could you please tell me a little about the {} of the small town called {} in Nepal?",
        "Write a short and cheerful text about the {} that my grandmother loved, and name {}.",
    ]
    return [
        frames[rng.integers(2)].format(names[rng.integers(8)], names[rng.integers(8)])
        for _ in range(num)
    ]


def literal(texts, threshold):
    """Each text kept only if no kept one is near, by comparing all of them."""
    kept = []
    for text in texts:
        if all(jaccard(shingles(text), shingles(other)) < threshold for other in kept):
            kept.append(text)
    return kept


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.9])
def test_agrees_with_comparing_every_pair(threshold):
    texts = variants(120)
    seen = Seen()
    kept = []
    for text in texts:
        if seen.nearest(text, at_least=threshold) is None:
            seen.add(text)
            kept.append(text)
    expected = literal(texts, threshold)
    assert kept == expected
    assert 2 < len(kept) < 100


def test_the_nearest_is_named():
    seen = Seen()
    for text in ["It rained in the hills of Pokhara", "It rained in the hills of Palpa all day"]:
        seen.add(text)
    assert seen.nearest("it rained in the hills of Palpa all day!", at_least=0.5) == (
        "It rained in the hills of Palpa all day"
    )


def test_jaccard_by_hand():
    """abcdef has abcde, bcdef; abcdeg has abcde, bcdeg: 1 of 3."""
    assert jaccard(shingles("abcdef"), shingles("abcdeg")) == pytest.approx(1 / 3)


def test_signatures_agree_as_often_as_the_sets_do():
    rng = np.random.default_rng(1)
    agreement = []
    for _ in range(40):
        pool = np.unique(rng.integers(2**63, size=300, dtype=np.uint64))
        left, right = pool[:225], pool[75:]  # 150 of 300
        agreement.append((signature(left) == signature(right)).mean())
    assert np.mean(agreement) == pytest.approx(0.5, abs=0.03)


def test_chunks_do_not_change_a_signature(monkeypatch):
    numbers = np.unique(np.random.default_rng(2).integers(2**63, size=500, dtype=np.uint64))
    whole = signature(numbers)
    monkeypatch.setattr("retain.rehearse.near._CHUNK_SHINGLES", 64)
    np.testing.assert_array_equal(signature(numbers), whole)


def test_numbers_are_the_same_in_every_process():
    """A corpus resumed on another day must meet the same filter."""
    assert shingles("नमस्ते").tolist() == shingles("  नमस्ते ").tolist()
    assert shingles("hello")[0] == 38875711341237407


@given(text=st.text(max_size=60))
def test_a_text_is_nearest_to_itself(text):
    seen = Seen()
    seen.add(text)
    assert seen.has(text)
    assert seen.nearest(text, at_least=1.0) == (text if text.split() else None)


def test_adding_twice_changes_nothing():
    seen = Seen()
    for text in ("one text", " One  TEXT "):
        seen.add(text)
    assert len(seen) == 1


def test_a_threshold_that_bands_would_miss_is_refused():
    with pytest.raises(ValueError, match=r"0\.5\.\.1"):
        Seen().nearest("x", at_least=0.3)
