"""Deliberate mistakes: a harness that does not catch them proves nothing."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from retain.evaluate.ledger import Ledger
from retain.steps import durable
from retain.train import loop, saving
from retain.train import snapshot as snapshots


@contextmanager
def _in_place(final, *, temporary=None, head=None, needed_bytes=0):
    """Fill the final folder as it goes."""
    durable.make_folder(final)
    yield final
    durable.seal(final, head)


def _copied(building, final):
    """Copy file by file into place instead of renaming."""
    durable.make_folder(final)
    for path in sorted(building.rglob("*"), reverse=True):
        if path.is_file():
            target = final / path.relative_to(building)
            target.parent.mkdir(parents=True, exist_ok=True)
            durable.write_new(target, path.read_bytes())
    durable.remove_tree(building)


def _trusting(partial, *rest, **more):
    """Take the snapshot of the highest number, without looking into it."""
    folders = sorted((partial / "snapshots").glob("step-*"))
    if not folders:
        return None
    state = json.loads((folders[-1] / "state.json").read_text())
    state.pop("format")
    return snapshots.Snapshot(
        step=state.pop("step"),
        weights=snapshots.FolderTensors(folders[-1] / "weights"),
        optimizer=snapshots.FolderTensors(folders[-1] / "optimizer"),
        state=state,
    )


def _forgetful(optimizer, parameters, tensors):
    """Go on without the optimizer's state."""


def _late(snapshot):
    """Copy nothing, and write when training has moved on."""
    return replace(snapshot, weights=_Late(snapshot.weights), optimizer=dict(snapshot.optimizer))


class _Late(dict):
    def items(self):
        time.sleep(0.02)
        return super().items()


def _counting_twice(self, name, index, results):
    """Write every finished batch under the number of the one before."""
    line = json.dumps({"batch": max(0, index - 1), "results": results}) + "\n"
    durable.append(self._files[name], line.encode())


def _slow_save(partial, snapshot):
    """A disk slow enough for training to be back at the next step."""
    time.sleep(0.03)
    return _save(partial, snapshot)


_save = snapshots.save
NO_COPIES = [(saving, "free_bytes", lambda: 0), (snapshots, "save", _slow_save)]
MISTAKES = {
    "copied": [(durable, "publish", _copied)],
    "no wait": [*NO_COPIES, (saving.Saver, "before_change", lambda self: None)],
    "in place": [(snapshots, "durable_folder", _in_place), (snapshots, "newest", _trusting)],
    "forgetful": [(loop, "load_state", _forgetful)],
    "late": [(snapshots, "copied", _late)],
    "counting twice": [(Ledger, "_keep", _counting_twice)],
}
"""What is put in the place of what is right."""
SOUND = {"no copies": NO_COPIES}
"""What is no mistake, and has to be asked for: the thread reads the live weights."""
CONTROLS = {
    "no wait": ("train", [45, 60]),
    "copied": ("mix", [-14, -12, -10]),
    "in place": ("train", [29, 31, 33, 35]),
    "forgetful": ("train", [45, 60]),
    "late": ("train", [45, 60]),
    "counting twice": ("evaluate", [38, 40, 44]),
}
"""The kind of step each is made in, and file events (from the end, where negative) to kill at."""


@contextmanager
def made(name: str) -> Iterator[None]:
    """Inside, the mistake of that name is made; none for an empty one."""
    changes = (MISTAKES | SOUND)[name] if name else []
    before = [(place, what, getattr(place, what)) for place, what, _ in changes]
    for place, what, wrong in changes:
        setattr(place, what, wrong)
    try:
        yield
    finally:
        for place, what, right in before:
            setattr(place, what, right)


def damage(path: Path, how: str) -> None:
    """Cut the last byte off a file, or flip a bit in its middle; other names of it stay whole.

    An empty file has no byte to lose: it is taken away, or given one.
    """
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = bytes(byte ^ 8 for byte in content[middle : middle + 1]) or b"\n"
    wrong = content[:-1] if how == "cut" else content[:middle] + flipped + content[middle + 1 :]
    if how == "cut" and not content:
        path.unlink()
        return
    beside = path.with_name("damaged")
    beside.write_bytes(wrong)
    os.replace(beside, path)
