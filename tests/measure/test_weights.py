"""Distances of weights against a literal version."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retain.measure.weights import weight_distance

SHAPES = {"embed": (4, 3), "norm": (3,)}


def weights(seed):
    draw = np.random.default_rng(seed)
    return {name: torch.tensor(draw.normal(size=shape)) for name, shape in SHAPES.items()}


def flat(model):
    return torch.cat([model[name].flatten() for name in SHAPES]).numpy()


@given(st.integers(0, 9), st.integers(0, 9), st.integers(10, 19))
def test_a_literal_version_agrees(left, right, start):
    one, other, begun = weights(left), weights(right), weights(start)
    found = weight_distance(one, other, begun)
    a, b, c = flat(one), flat(other), flat(begun)
    assert found.length == pytest.approx(np.linalg.norm(a - b))
    assert found.relative == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(c))
    assert found.moved[0] == pytest.approx(np.linalg.norm(a - c) / np.linalg.norm(c))
    cosine = (a - c) @ (b - c) / np.linalg.norm(a - c) / np.linalg.norm(b - c)
    assert found.cosine == pytest.approx(cosine)
    turned = weight_distance(other, one, begun)
    assert turned.length == found.length
    assert turned.moved == found.moved[::-1]


def test_a_model_with_itself_and_one_that_did_not_move():
    one, start = weights(1), weights(2)
    assert weight_distance(one, one, start).length == 0
    assert weight_distance(one, one, start).cosine == pytest.approx(1)
    still = weight_distance(one, start, start)
    assert still.moved[1] == 0
    assert math.isnan(still.cosine)


def test_half_precision_is_added_up_in_double():
    start = {"w": torch.zeros(100_000, dtype=torch.bfloat16)}
    one = {"w": torch.ones(100_000, dtype=torch.bfloat16)}
    assert weight_distance(one, start, one).relative == 1


@pytest.mark.parametrize("changed", [{"other": torch.ones(1)}, {"embed": torch.ones(2, 3)}])
def test_unlike_models_are_refused(changed):
    with pytest.raises(ValueError, match=r"unlike weights|shapes"):
        weight_distance(weights(0) | changed, weights(1), weights(2))
