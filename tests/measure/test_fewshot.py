"""Gains by examples: what both models share does not count; nothing is divided by little."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.measure.fewshot import extra_gain, relative_gain
from retain.measure.statistics import UNKNOWN, Interval

scores = st.floats(0.01, 1)


@given(scores, scores, scores, scores, st.floats(-1, 1))
def test_the_extra_gain_is_blind_to_what_both_models_or_both_numbers_of_shots_share(a, b, c, d, s):
    found = extra_gain(a, b, c, d)
    assert found == pytest.approx((a - b) - (c - d))
    assert extra_gain(a + s, b + s, c, d) == pytest.approx(
        found, abs=1e-9
    )  # lost at every shot alike
    assert extra_gain(a + s, b, c + s, d) == pytest.approx(
        found, abs=1e-9
    )  # an easier prompt for both
    assert extra_gain(c, d, a, b) == pytest.approx(-found)
    assert extra_gain(a, b, a, b) == 0


@given(scores, scores, st.floats(0.1, 10))
def test_the_relative_gain_does_not_depend_on_the_unit(k, zero, scale):
    one, other = (
        relative_gain(np.array([k * x]), np.array([zero * x]), level=None, interval_0=UNKNOWN)
        for x in (1, scale)
    )
    assert one[0] == pytest.approx(100 * (k - zero) / zero)
    assert other[0] == pytest.approx(one[0])


def test_it_is_empty_where_there_is_little_to_divide_by():
    k, zero = np.array([0.5, 0.5]), np.array([0.3, 0.0])
    sure, unsure = Interval(0.28, 0.32), Interval(0.2, 0.4)
    assert relative_gain(k, zero, level=0.25, interval_0=sure)[0] == pytest.approx(200 / 3)
    assert np.isnan(relative_gain(k, zero, level=0.25, interval_0=sure)[1])  # a draw of 0
    assert np.isnan(relative_gain(k, zero, level=0.25, interval_0=unsure)).all()
    assert np.isnan(relative_gain(k, zero, level=0.25, interval_0=UNKNOWN)).all()
    assert np.isnan(relative_gain(k, 0 * zero, level=None, interval_0=sure)).all()
