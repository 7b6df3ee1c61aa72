"""Drift measures against literal sums, and what must leave them as they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy, ortho_group

from retain.measure.drift import covariance_drift, divergence, linear_cka, mean_cosine

seeds = st.integers(0, 2**32 - 1)


def activations(seed, tokens=12, width=5):
    return np.random.default_rng(seed).normal(size=(2, tokens, width)) + 0.5


@given(seeds)
def test_cka_is_1_for_what_is_turned_shifted_and_scaled(seed):
    one, _ = activations(seed)
    turned = 3 * one @ ortho_group.rvs(5, random_state=seed) + 7
    assert linear_cka(one, turned) == pytest.approx(1)
    assert linear_cka(one, one) == pytest.approx(1)


@given(seeds)
def test_cka_is_symmetric_in_0_to_1_and_blind_to_the_order_of_tokens(seed):
    one, other = activations(seed)
    order = np.random.default_rng(seed).permutation(len(one))
    found = linear_cka(one, other)
    assert 0 <= found < 1
    assert linear_cka(other, one) == pytest.approx(found)
    assert linear_cka(one[order], other[order]) == pytest.approx(found)
    assert linear_cka(one, other[:, :2]) >= 0  # widths may differ


@given(seeds)
def test_cka_agrees_with_the_formula_written_out(seed):
    one, other = (a - a.mean(0) for a in activations(seed))
    literal = np.linalg.norm(other.T @ one) ** 2 / (
        np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)
    )
    assert linear_cka(one, other) == pytest.approx(literal)


@given(seeds)
def test_covariance_drift_agrees_with_numpy(seed):
    one, other = activations(seed)
    before, after = (np.cov(a.T, bias=True) for a in (one, other))
    literal = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert covariance_drift(one, other) == pytest.approx(literal)
    assert covariance_drift(one, one + 4) == pytest.approx(0, abs=1e-6)
    assert covariance_drift(one, 2 * one) == pytest.approx(3)


@given(seeds)
def test_the_cosine_of_means_sees_direction_alone(seed):
    one, other = activations(seed)
    a, b = one.mean(0), other.mean(0)
    assert mean_cosine(one, other) == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)))
    assert mean_cosine(one, 5 * one) == pytest.approx(1)
    assert mean_cosine(one, -one) == pytest.approx(-1)


@given(seeds)
def test_divergence_agrees_with_scipy(seed):
    logits = np.random.default_rng(seed).normal(size=(2, 6, 9)) * 3
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in logits)
    found = divergence(np.log(p), np.log(q))
    assert found == pytest.approx([entropy(a, b) for a, b in zip(p, q, strict=True)])
    assert (found >= 0).all()
    assert divergence(np.log(p), np.log(p)) == pytest.approx(np.zeros(6))


def test_where_there_is_nothing_to_compare():
    still = np.ones((3, 2))
    assert np.isnan(linear_cka(still, activations(0, 3, 2)[0]))
    assert np.isnan(covariance_drift(still, still))
    assert np.isnan(mean_cosine(np.zeros((3, 2)), still))
    assert divergence(np.array([[0.0, -np.inf]]), np.array([[-1.0, 0.0]])) == pytest.approx([1])
    assert divergence(np.log([[0.5, 0.5]]), np.array([[0.0, -np.inf]])) == pytest.approx([np.inf])
    with pytest.raises(ValueError, match="take the same texts"):
        linear_cka(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(ValueError, match="widths 2 and 3 differ"):
        covariance_drift(np.ones((3, 2)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="widths 2 and 3 differ"):
        mean_cosine(np.ones((3, 2)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="differ"):
        divergence(np.ones((3, 2)), np.ones((2, 2)))
