"""Killed anywhere and started again, every kind of step ends with the same bytes."""

import pytest

from retain.pipeline.kinds import KINDS
from tests.kills.mistakes import CONTROLS

KINDS_AND_REPORT = [*KINDS, "report"]
TWENTY = ("mix", "train", "evaluate", "report")
"""Kinds that are killed twenty times; the others, which keep nothing while they run, four times."""


def test_every_kind_of_step_is_among_those_that_are_killed(harness):
    assert set(harness.ask("kinds")) == set(KINDS_AND_REPORT)


@pytest.mark.parametrize("kind", KINDS_AND_REPORT)
def test_a_killed_step_ends_with_the_same_bytes(harness, kind):
    events, num_random = (14, 6) if kind in TWENTY else (3, 1)
    found = harness.ask("kill", kind=kind, events=events, num_random=num_random)
    assert found["faults"] == []
    assert found["equal"] == found["trials"] == events + num_random
    assert found["fired"] >= events - 1  # threads may make an event or two less
    if kind == "train":
        assert found["went_on"] > 3


def test_a_save_that_reads_live_weights_is_as_safe(harness):
    events = [45, 60]
    found = harness.ask("kill", kind="train", events=events, num_random=2, mistake="no copies")
    assert found["faults"] == []
    assert found["went_on"] > 0


@pytest.mark.parametrize("mistake", CONTROLS)
def test_a_mistake_is_caught(harness, mistake):
    kind, events = CONTROLS[mistake]
    found = harness.ask("kill", kind=kind, events=events, num_random=0, mistake=mistake)
    assert found["faults"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS_AND_REPORT)
def test_killed_at_every_file_event(harness, kind):
    found = harness.ask("kill", kind=kind, events=None, num_random=0)
    assert found["faults"] == []
    assert found["equal"] == found["fired"] == found["events"]
