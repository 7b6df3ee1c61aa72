"""What can be seen, from outside, of a program whose steps are done by workers."""

import time
from pathlib import Path

from retain.steps import read_journal


def events(path, kind):
    """The events of a kind in a journal."""
    return [event for event in read_journal(path) if event["event"] == kind]


def wait_for(condition, seconds=20):
    """Until it holds; an error if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def started(folder):
    """The steps that were begun."""
    return events(folder / "journal.jsonl", "step started")


def workers(folder):
    """The processes that began them."""
    words = [event["worker"].partition("process ")[2].split() for event in started(folder)]
    return {int(pid) for pid, *_ in words}


def alive(pid):
    """Whether a process is there and not only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def counts(folder):
    """How far the steps of kind `saving` have counted."""
    return sorted(int(path.read_text() or 0) for path in folder.glob(".steps/.partial/*/*/count"))
