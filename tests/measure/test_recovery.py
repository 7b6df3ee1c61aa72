"""Recovery: what came back, in shares of a loss that is really there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.measure.recovery import Scores, recovery

unit = st.floats(0.05, 0.95)


def sampled(value, width=0.0):
    noise = np.random.default_rng(0).normal(0, width, 400) if width else np.zeros(400)
    return np.concatenate([[value], value + noise])


def of(base, last, retuned, base_retuned, placebo):
    return recovery(Scores(*map(sampled, (base, last, retuned, base_retuned, placebo))))


def test_all_of_it_none_of_it_and_what_the_retune_teaches_by_itself():
    assert of(0.8, 0.5, 0.8, 0.8, 0.5).share[0] == pytest.approx(1)
    assert of(0.8, 0.5, 0.5, 0.8, 0.5).share[0] == pytest.approx(0)
    assert of(0.8, 0.5, 0.6, 0.9, 0.5).share[0] == pytest.approx(0)  # as much as it teaches anyone
    assert of(0.8, 0.5, 0.4, 0.8, 0.5).share[0] < 0
    assert of(0.8, 0.5, 0.8, 0.8, 0.65).placebo_share[0] == pytest.approx(0.5)


@given(unit, unit, unit, unit, unit, st.floats(-0.5, 0.5), st.floats(0.1, 5))
def test_shares_are_blind_to_shift_and_unit(a, b, c, d, e, shift, scale):
    five = (max(a, b) + 0.1, min(a, b), c, d, e)
    one = of(*five)
    other = of(*(scale * (x + shift) for x in five))
    assert other.share == pytest.approx(one.share, abs=1e-6)
    assert other.placebo_share == pytest.approx(one.placebo_share, abs=1e-6)
    assert other.returned == pytest.approx(scale * one.returned, abs=1e-6)


def test_a_loss_within_its_interval_has_no_share():
    noisy = Scores(sampled(0.52, 0.05), *(sampled(x) for x in (0.5, 0.6, 0.52, 0.5)))
    found = recovery(noisy)
    assert found.returned[0] == pytest.approx(0.1)
    assert np.isnan(found.share).all()
    assert np.isnan(found.placebo_share).all()
    gained = of(0.5, 0.6, 0.7, 0.5, 0.6)
    assert np.isnan(gained.share).all()


def test_unlike_shapes_are_refused():
    with pytest.raises(ValueError, match="unlike shapes"):
        recovery(Scores(*[np.zeros(3)] * 4, np.zeros(2)))
