"""Verdicts in both orders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.measure.judge import order_agreement, position_bias, preference

pairs = st.lists(st.tuples(st.sampled_from((-1, 0, 1)), st.sampled_from((-1, 0, 1))), min_size=1)


def both(verdicts):
    return tuple(np.array(verdicts, dtype=float).T)


@given(pairs)
def test_a_literal_reading_agrees(verdicts):
    worth = {1: 1.0, 0: 0.5, -1: 0.0}
    slow = [(worth[first] + 1 - worth[second]) / 2 for first, second in verdicts]
    assert preference(*both(verdicts)).tolist() == slow
    places = [(worth[first] + worth[second]) - 1 for first, second in verdicts]
    assert position_bias(*both(verdicts)).tolist() == places


@given(pairs)
def test_swapping_the_answers_turns_the_preference_and_keeps_the_habit(verdicts):
    first, second = both(verdicts)
    assert np.array_equal(preference(second, first), 1 - preference(first, second))
    assert np.array_equal(position_bias(second, first), position_bias(first, second))
    assert np.array_equal(order_agreement(second, first), order_agreement(first, second))


def test_a_judge_that_takes_a_place_prefers_nobody():
    ones = np.ones(4)
    assert preference(ones, ones).tolist() == [0.5] * 4
    assert position_bias(ones, ones).tolist() == [1.0] * 4
    assert not order_agreement(ones, ones).any()


@pytest.mark.parametrize("wrong", [np.array([2.0]), np.array([0.0, 1.0]), np.array([np.nan])])
def test_what_is_no_verdict(wrong):
    with pytest.raises(ValueError, match="verdict"):
        preference(np.array([1.0]), wrong)
