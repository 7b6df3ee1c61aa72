from itertools import count

import pytest
import torch

from retain.errors import TrainingError
from retain.steps import durable
from retain.train import snapshot as snapshots
from retain.train.snapshot import Pace, Snapshot


def make_snapshot(step):
    values = {"w": torch.full((3,), float(step)), "b.w": torch.arange(4.0)}
    return Snapshot(step, values, {"exp_avg/w": torch.ones(3)}, {"curve": [{"loss": 0.1 * step}]})


def newest(folder):
    skipped = []
    found = snapshots.newest(folder, lambda name, faults: skipped.append((name, faults)))
    return found, skipped


def test_what_is_saved_comes_back_and_two_are_kept(tmp_path):
    for step in (2, 4, 6):
        snapshots.save(tmp_path, make_snapshot(step))
    found, skipped = newest(tmp_path)
    assert (found.step, skipped) == (6, [])
    assert torch.equal(found.weights["w"], torch.full((3,), 6.0))
    assert torch.equal(found.optimizer["exp_avg/w"], torch.ones(3))
    assert found.state == {"curve": [{"loss": 0.1 * 6}]}
    kept = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert kept == ["step-00000004", "step-00000006"]


def test_none_is_none(tmp_path):
    assert newest(tmp_path) == (None, [])


FILES = [
    "weights/00000.safetensors",
    "optimizer/00000.safetensors",
    "state.json",
    "MANIFEST.json",
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_snapshot_is_passed_over_and_named(tmp_path, file, damage):
    snapshots.save(tmp_path, make_snapshot(2))
    path = snapshots.save(tmp_path, make_snapshot(4)) / file
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 8]) + content[middle + 1 :])
    found, skipped = newest(tmp_path)
    assert found.step == 2
    assert [name for name, _ in skipped] == ["step-00000004"]
    assert skipped[0][1]


def test_the_same_step_can_be_saved_again_over_a_damaged_one(tmp_path):
    path = snapshots.save(tmp_path, make_snapshot(4))
    (path / "state.json").unlink()
    snapshots.save(tmp_path, make_snapshot(4))
    assert newest(tmp_path)[0].step == 4


class Killed(BaseException):
    """Stands for a kill."""


def test_a_kill_at_any_file_event_leaves_a_snapshot_that_verifies(tmp_path, monkeypatch):
    for moment in count():
        folder = tmp_path / str(moment)
        for step in (2, 4):
            snapshots.save(folder, make_snapshot(step))
        left = iter(range(moment))

        def on_event(kind, path, left=left):
            if next(left, None) is None:
                raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(durable, "on_file_event", on_event)
            patched.setattr(
                durable, "remove_tree", lambda path: None
            )  # a dead process tidies nothing
            try:
                snapshots.save(folder, make_snapshot(6))
                done = True
            except Killed:
                done = False
        found, skipped = newest(folder)
        assert found.step in (4, 6)
        assert skipped == []
        assert not list((folder / "snapshots").glob(".tmp*"))
        if done:
            break
    assert moment > 10


def test_a_snapshot_of_other_parameters_is_refused():
    with pytest.raises(TrainingError, match=r"other trainable parameters .* 'b\.w'"):
        snapshots.restore(make_snapshot(2), {"w": torch.zeros(3)})


def test_saving_by_steps():
    pace = Pace(3, 100)
    assert [step for step in range(1, 10) if pace.is_due(step)] == [3, 6, 9]


def test_saving_by_the_clock_costs_under_a_twentieth(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(snapshots, "monotonic", lambda: now[0])
    pace, saved = Pace(None, int(1.6e9)), 0.0
    for step in range(1, 2000):
        now[0] += 1.0
        if pace.is_due(step):
            pace.begun()
            now[0] += 4.0
            saved += 4.0
            pace.saved(9.0, cost=4.0)
    assert 0 < saved <= 0.05 * now[0]


def test_one_passed_over_is_gone_once_a_new_one_is_there(tmp_path):
    for step in (2, 4, 6):
        last = snapshots.save(tmp_path, make_snapshot(step))
    (last / "state.json").write_text("{")
    snapshots.save(tmp_path, make_snapshot(5))
    kept = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert kept == ["step-00000004", "step-00000005"]


def test_a_copy_does_not_move_with_what_it_is_of():
    live = make_snapshot(2)
    copy = snapshots.copied(live)
    live.weights["w"].zero_()
    live.optimizer["exp_avg/w"].zero_()
    assert torch.equal(copy.weights["w"], torch.full((3,), 2.0))
    assert torch.equal(copy.optimizer["exp_avg/w"], torch.ones(3))
    assert copy.num_bytes == live.num_bytes == 4 * (3 + 4 + 3)


def test_large_states_are_written_in_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "SHARD_BYTES", 100)
    tensors = {f"t{n}": torch.full((10,), float(n)) for n in range(7)}
    folder = snapshots.save(tmp_path, Snapshot(1, tensors, {"a/t0": torch.ones(2)}, {}))
    assert len(list((folder / "weights").glob("*.safetensors"))) == 4
    found = snapshots.newest(tmp_path, lambda name, faults: None)
    assert set(found.weights) == set(tensors)
    assert all(torch.equal(found.weights[name], value) for name, value in tensors.items())
