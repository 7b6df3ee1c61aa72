"""Tests that agree with scipy, and corrections that a literal version gives too."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from retain.measure.significance import draws_p_value, holm, mcnemar
from retain.measure.statistics import generator, percentile_interval

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(lost=st.integers(0, 60), gained=st.integers(0, 60))
def test_mcnemar_agrees_with_scipy(lost, gained):
    expected = 1.0
    if lost + gained:
        expected = scipy.stats.binomtest(lost, lost + gained, 0.5).pvalue
    assert mcnemar(lost, gained) == pytest.approx(expected)
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def test_mcnemar_refuses_what_cannot_be_counted():
    with pytest.raises(ValueError, match="no such flips"):
        mcnemar(-1, 2)


def test_mcnemar_is_rarely_wrong_about_equal_checkpoints():
    rng = np.random.default_rng(0)
    flips = rng.binomial(40, 0.5, size=4000)
    wrong = np.mean([mcnemar(int(lost), 40 - int(lost)) <= 0.05 for lost in flips])
    assert 0.02 < wrong <= 0.055


def literal_holm(p_values):
    """The rule as Holm words it: reject in ascending order until one fails, at every level."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    for place, index in enumerate(order):
        steps = [
            (len(p_values) - earlier) * p_values[order[earlier]] for earlier in range(place + 1)
        ]
        adjusted[index] = min(1.0, max(steps))
    return adjusted


@given(p_values=P_VALUES)
def test_holm_agrees_with_a_literal_version(p_values):
    np.testing.assert_allclose(holm(np.array(p_values)), literal_holm(p_values))


@given(p_values=P_VALUES, seed=st.integers(0, 99))
def test_holm_lies_between_the_p_values_and_bonferroni_in_any_order(p_values, seed):
    p_A = np.array(p_values)
    found = holm(p_A)
    assert (found >= p_A).all()
    assert (found <= np.minimum(1, len(p_A) * p_A) + 1e-12).all()
    shuffled = np.random.default_rng(seed).permutation(len(p_A))
    np.testing.assert_allclose(holm(p_A[shuffled]), found[shuffled])


def test_a_comparison_that_could_not_be_made_is_not_counted():
    np.testing.assert_array_equal(holm(np.array([0.02, math.nan, 0.03])), [0.04, math.nan, 0.04])
    assert holm(np.array([math.nan])).tolist() == [pytest.approx(math.nan, nan_ok=True)]
    with pytest.raises(ValueError, match=r"0\.\.1"):
        holm(np.array([1.5]))


def test_holm_is_wrong_about_any_arm_in_one_study_of_twenty():
    rng = np.random.default_rng(0)
    p_SA = rng.random((4000, 6))
    wrong = np.mean([(holm(p_A) <= 0.05).any() for p_A in p_SA])
    assert wrong == pytest.approx(0.05, abs=0.012)


@given(shift=st.floats(-3, 3))
def test_draws_and_interval_say_the_same(shift):
    draws_B = generator("draws").standard_normal(2000) + shift
    p = draws_p_value(draws_B)
    assert p == draws_p_value(-draws_B)
    low, high = percentile_interval(draws_B)
    if abs(p - 0.05) > 0.002:
        assert (p < 0.05) == (not low <= 0 <= high)


@pytest.mark.parametrize("num_sources", [8, 11, 40])
def test_no_p_value_is_less_than_that_of_sources_that_all_agree(num_sources):
    """The least p of a sign test: all differ in one direction."""
    least = 2 * (0.5**num_sources)
    found = draws_p_value(np.full(4000, 0.5), num_sources)
    assert found == pytest.approx(max(least, 1 / 4001))
    assert draws_p_value(np.array([-1.0, 1.0]), num_sources) == 1


def test_draws_that_are_missing_have_no_p_value():
    assert math.isnan(draws_p_value(np.array([])))
    assert math.isnan(draws_p_value(np.array([1.0, math.nan])))
