import errno
import json
import math
import os

import pytest

from retain.errors import StoreError
from retain.steps import Journal, read_journal
from retain.steps.journal import DURABLE


def test_events_come_back_in_order_with_their_time(journal):
    journal.event("step started", step="data/x", kind="data")
    journal.event("train", loss=0.5, text="é\n")
    first, second = read_journal(journal.path)

    assert (first["event"], first["kind"]) == ("step started", "data")
    assert second == {"time": second["time"], "event": "train", "loss": 0.5, "text": "é\n"}
    assert first["time"] <= second["time"]
    assert second["time"].endswith("+00:00")


def test_no_journal_is_no_event(tmp_path):
    assert read_journal(tmp_path / "none.jsonl") == []


def test_numbers_that_json_lacks_are_kept_as_words(journal):
    journal.event("train", loss=math.nan, curve=[1.0, {"x": -math.inf}])

    (event,) = read_journal(journal.path)
    assert event["loss"] == "nan"
    assert event["curve"] == [1.0, {"x": "-inf"}]
    json.loads(journal.path.read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_line_hides_no_other_and_is_not_hidden(journal, cut):
    journal.event("one")
    journal.event("two")
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-cut])
    torn = read_journal(journal.path)
    Journal(journal.path).event("three")
    events = read_journal(journal.path)

    assert [event["event"] for event in torn] == ["one", "two" if cut == 1 else "torn line"]
    assert [event["event"] for event in events] == [torn[0]["event"], torn[1]["event"], "three"]
    assert events[1].get("line", 2) == 2


def test_a_line_that_is_no_event_is_named(journal):
    journal.event("one")
    with journal.path.open("ab") as file:
        file.write(b"[1]\n\xff\n")

    assert [event.get("line") for event in read_journal(journal.path)] == [None, 2, 3]


def test_step_events_are_on_the_disk_before_work_goes_on(journal, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", synced.append)
    for kind in (*sorted(DURABLE), "train"):
        journal.event(kind)

    assert len(synced) == len(DURABLE)


def test_a_full_disk_is_told(journal, monkeypatch):
    def short(descriptor, data):
        return 3

    monkeypatch.setattr("os.write", short)
    with pytest.raises(StoreError, match="full") as raised:
        journal.event("x")
    assert raised.value.__cause__.errno == errno.ENOSPC


def test_a_journal_that_cannot_be_read_is_an_error(tmp_path):
    os.mkdir(tmp_path / "journal.jsonl")
    with pytest.raises(StoreError, match="cannot be read"):
        read_journal(tmp_path / "journal.jsonl")
