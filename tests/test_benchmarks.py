"""What the benchmarks say of their own figures."""

from types import SimpleNamespace

import pytest


@pytest.mark.parametrize(
    ("low", "held"),
    [(1.9, "neither"), (3.0, "neither"), (3.5, "floor"), (4.5, "floor, aim")],
)
def test_an_aim_below_a_missed_floor_is_not_said_to_hold(low, held):
    from benchmarks.evaluate import _holds

    assert _holds(SimpleNamespace(low=low, floor=3, aim=4)) == held
    if low <= 3:
        assert _holds(SimpleNamespace(low=low, floor=3, aim=1.4)) == "neither"
