"""Attention between words against literal sums, and a test of heads that keeps its level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.measure.attention import (
    Words,
    compare_heads,
    even_share,
    matched,
    mismatch,
    word_attention,
)

seeds = st.integers(0, 2**32 - 1)


def weights(seed, layers=2, heads=3, tokens=6):
    """Attention as a causal model gives it."""
    raw = np.tril(np.random.default_rng(seed).random((layers, heads, tokens, tokens)) + 0.1)
    return raw / raw.sum(-1, keepdims=True)


@given(seeds)
def test_word_attention_agrees_with_a_loop(seed):
    weight, words = weights(seed), [(0,), (1, 2), (4, 5)]
    found = word_attention(weight, words)
    for layer, head, q, k in np.ndindex(found.shape):
        literal = np.mean([sum(weight[layer, head, a, b] for b in words[k]) for a in words[q]])
        assert found[layer, head, q, k] == pytest.approx(literal)


@given(seeds)
def test_the_attention_of_a_word_adds_up_to_1_and_does_not_look_ahead(seed):
    found = word_attention(weights(seed), [(0,), (1, 2), (3, 4, 5)])
    assert found.sum(-1) == pytest.approx(np.ones(found.shape[:3]))
    assert not found[:, :, 0, 1:].any()


def test_words_outside_the_sentence_are_refused():
    for word in ((), (6,), (-1,)):
        with pytest.raises(ValueError, match="of a sentence of 6"):
            word_attention(weights(0), [(0,), word])


@given(seeds)
def test_attention_spread_evenly_gives_the_even_share(seed):
    weight = np.tril(np.ones((9, 9))) / np.arange(1, 10)[:, None]
    cut = 1 + seed % 6
    pair = Words(tuple(range(cut)), tuple(range(cut + 1, 9)))
    found = word_attention(weight[None, None], pair)
    assert found[0, 0, 1, 0] == pytest.approx(even_share(pair))


def test_controls_have_the_distance_and_pieces_of_the_dependency():
    marked = Words((2, 3), (6,))
    same, farther, longer = Words((5, 6), (9,)), Words((1, 2), (9,)), Words((2, 3), (6, 7))
    assert [mismatch(marked, other) for other in (same, farther, longer)] == [0, 4, 1]
    near = Words((3, 4), (7,))
    others = [farther, same, longer, near]
    assert matched(marked, others, [0] * 4, 3) == [3, 1, 2]
    assert matched(marked, others, [0, 0, 0, 1], 3) == [1, 3, 2]  # served elsewhere already
    assert matched(marked, [same], [0], 5) == [0]


@given(seeds)
def test_heads_do_not_depend_on_scale_order_or_direction(seed):
    rng = np.random.default_rng(seed)
    apart = rng.normal(size=(9, 2, 3))
    found = compare_heads(apart, np.random.default_rng(0), num_permutations=200)
    turned = compare_heads(-7 * apart, np.random.default_rng(0), num_permutations=200)
    assert turned.p == pytest.approx(found.p)
    assert turned.mean == pytest.approx(-7 * found.mean)
    assert found.mean == pytest.approx(apart.mean(0))
    swapped = compare_heads(apart[:, ::-1], np.random.default_rng(0), num_permutations=200)
    assert swapped.p[::-1] == pytest.approx(found.p)


def test_one_head_agrees_with_all_signs_written_out():
    apart = np.random.default_rng(3).normal(0.6, 1, size=(8, 1, 1))
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1).T
    flipped = signs * apart[:, 0, 0]
    t = np.abs(flipped.mean(1)) / (flipped.std(1, ddof=1) / np.sqrt(8))
    own = t[(signs == 1).all(1)][0]
    exact = (t >= own - 1e-9).mean()
    found = compare_heads(apart, np.random.default_rng(0), num_permutations=20_000)
    assert found.p[0, 0] == pytest.approx(exact, abs=0.01)


def test_over_all_heads_one_study_in_twenty_is_wrong_about_any():
    rng = np.random.default_rng(0)
    wrong = [
        compare_heads(rng.normal(size=(20, 6, 5)), rng, num_permutations=200).num_heads > 0
        for _ in range(300)
    ]
    assert 0.02 < np.mean(wrong) < 0.085


def test_a_head_that_follows_is_found_and_what_it_cannot_see_is_left_out():
    apart = np.random.default_rng(0).normal(0, 0.01, size=(20, 2, 2))
    apart[:, 1, 0] += 0.1
    apart[5:, 0, 1] = np.nan
    apart[:, 0, 0] = np.nan
    found = compare_heads(apart, np.random.default_rng(1))
    assert found.num_heads == 1
    assert found.p[1, 0] < 0.01
    assert np.isnan(found.p[0, 0])
    assert np.isnan(found.mean[0, 0])
    assert found.mean[0, 1] == pytest.approx(apart[:5, 0, 1].mean())
    with pytest.raises(ValueError, match="no sentence"):
        compare_heads(np.empty((0, 2, 2)), np.random.default_rng(0))
