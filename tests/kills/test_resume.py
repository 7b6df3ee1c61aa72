"""Training killed in any epoch ends with the same bytes, whatever moves and however packed."""

import pytest

FAST = ("full-packed", "freeze-packed")
SLOW = (
    *("full-unpacked", "freeze-unpacked", "lora-packed", "lora-unpacked"),
    *("qlora-packed", "qlora-unpacked"),
)


def slow(arm):
    return pytest.param(arm, marks=pytest.mark.slow)


def test_every_tuning_is_here(harness):
    assert set(harness.ask("arms")) == {*FAST, *SLOW}


@pytest.mark.parametrize("epoch", [0, 1, 2])
@pytest.mark.parametrize("arm", [*FAST, *map(slow, SLOW)])
def test_a_phase_killed_inside_an_epoch_ends_with_the_same_bytes(harness, arm, epoch):
    found = harness.ask("resume", arm=arm, epoch=epoch)
    assert found["faults"] == []
    assert found["fired"] == found["went_on"] == found["equal"] == 1


@pytest.mark.parametrize(
    "arm", ["lora-unpacked", *map(slow, sorted({*FAST, *SLOW} - {"lora-unpacked"}))]
)
def test_twenty_kills_in_one_run_change_nothing(harness, arm):
    found = harness.ask("resume", arm=arm, epoch=0, kills=20)
    assert found["faults"] == []
    assert (found["fired"], found["equal"]) == (20, 1)
