"""Killed anywhere and started again, every kind of step ends with the same bytes."""

import pytest

from retain.pipeline.kinds import KINDS
from tests.kills.mistakes import CONTROLS

NUM_KILLS = 20
KINDS_AND_REPORT = [*KINDS, "report"]


def test_every_kind_of_step_is_among_those_that_are_killed(harness):
    assert set(harness.ask("kinds")) == set(KINDS_AND_REPORT)


@pytest.mark.parametrize("kind", KINDS_AND_REPORT)
def test_a_killed_step_ends_with_the_same_bytes(harness, kind):
    found = harness.ask("kill", kind=kind, events=14, num_random=6)
    assert found["faults"] == []
    assert found["equal"] == found["trials"] <= NUM_KILLS
    assert found["fired"] >= min(14, found["events"])
    if kind == "train":
        assert found["went_on"] > 3


@pytest.mark.parametrize("mistake", CONTROLS)
def test_a_mistake_is_caught(harness, mistake):
    kind, events = CONTROLS[mistake]
    found = harness.ask("kill", kind=kind, events=events, num_random=0, mistake=mistake)
    assert found["faults"]
    assert found["equal"] < found["trials"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS_AND_REPORT)
def test_killed_at_every_file_event(harness, kind):
    found = harness.ask("kill", kind=kind, events=None, num_random=0)
    assert found["faults"] == []
    assert found["equal"] == found["fired"] == found["events"]
