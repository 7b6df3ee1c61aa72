"""Many commands at once on one run directory."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from retain.execute import Quiet
from tests.kills.children import act_in_child
from tests.kills.trials import Case


def race(case: Case, root: Path, count: int) -> dict[int, tuple[int, str]]:
    """Start many at once; the one that owns the run goes on when all others have left."""
    gate, opener = os.pipe()
    pids = {}
    for number in range(count):
        said = root / f"said-{number}"
        pid = os.fork()
        if pid == 0:
            os.close(opener)
            os.read(gate, 1)
            act_in_child(lambda: case.do(root, _Patient(root / "release")), said)
        pids[pid] = said
    os.close(gate)
    os.close(opener)  # all of them read the end of the pipe
    outcomes: dict[int, tuple[int, str]] = {}
    for pid, status in _leaving(set(pids)):
        outcomes[pid] = (status, pids[pid].read_text() if pids[pid].exists() else "")
        if len(outcomes) == count - 1:
            (root / "release").touch()
    return outcomes


def _leaving(pids: set[int]) -> Iterator[tuple[int, int]]:
    """Each process with its status as it ends."""
    while pids:
        pid, status = os.wait()
        if pid in pids:
            pids.remove(pid)
            yield pid, os.waitstatus_to_exitcode(status)


class _Patient(Quiet):
    """Holds the run until a file appears."""

    def __init__(self, release: Path) -> None:
        self._release = release

    def start(self, step, position, total) -> None:
        end = time.monotonic() + 20
        while not self._release.exists() and time.monotonic() < end:
            time.sleep(0.005)
