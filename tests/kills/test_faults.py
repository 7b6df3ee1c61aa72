"""Signals, full disks, damaged files and many starters: what is promised, in each kind of step."""

import pytest

from retain.pipeline.kinds import KINDS

KINDS_AND_REPORT = [*KINDS, "report"]
FAST = ["train", "report"]


@pytest.mark.parametrize("kind", FAST)
def test_a_signal_ends_a_step_in_time_and_the_same_command_goes_on(harness, kind):
    found = harness.ask("terminate", kind=kind, count=2)
    assert found["faults"] == []
    assert found["equal"] == found["fired"] == found["trials"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS_AND_REPORT)
def test_a_signal_at_any_of_twenty_file_events(harness, kind):
    found = harness.ask("terminate", kind=kind, count=20)
    assert found["faults"] == []
    assert found["equal"] == found["fired"] == found["trials"]


@pytest.mark.parametrize("kind", FAST)
def test_a_full_disk_is_said_and_leaves_what_was_there(harness, kind):
    found = harness.ask("fill", kind=kind, count=2)
    assert found["faults"] == []
    assert found["equal"] == found["trials"]
    assert found["fired"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize("kind", KINDS_AND_REPORT)
def test_a_disk_full_at_every_file_event(harness, kind, for_good):
    found = harness.ask("fill", kind=kind, count=None, for_good=for_good)
    assert found["faults"] == []
    assert found["equal"] == found["trials"]


@pytest.mark.parametrize("kind", ["mix"])
def test_a_byte_cut_or_flipped_in_any_file_is_noticed(harness, kind):
    found = harness.ask("damage", kind=kind)
    assert found["faults"] == []
    assert found["equal"] == found["fired"] == found["trials"] > 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_byte_cut_or_flipped_in_any_file_of_any_kind_is_noticed(harness, kind):
    found = harness.ask("damage", kind=kind)
    assert found["faults"] == []
    assert found["equal"] == found["fired"] == found["trials"] > 3


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_of_eight_starters_one_owns_the_run(harness, rounds):
    found = harness.ask("starters", rounds=rounds)
    assert found["faults"] == []
    assert found["equal"] == found["fired"] == rounds


def test_a_real_disk_that_is_full_during_a_save(harness):
    found = harness.ask("small_disk")
    assert found["faults"] == []
    assert found["equal"] == found["trials"] == 3
    assert found["fired"] >= 2
