"""Saving while training goes on: a copy of the moment, one at a time, no error lost."""

import errno
import os
import threading
from dataclasses import replace

import pytest
import torch

from retain.errors import Interrupted, StoreError
from retain.steps import durable
from retain.train import saving
from retain.train import snapshot as snapshots
from retain.train.saving import Saver
from retain.train.snapshot import Pace, Snapshot
from tests.conftest import make_model
from tests.train.phases import SETTINGS, make_stream, make_work, same, train, weights


class Phase:
    """A phase whose only weight is the number of its steps, saved after each."""

    def __init__(self, folder, *, stop=lambda: False, save_steps=1):
        self.work = make_work(folder, stop=stop)
        self.weight = torch.zeros(5)
        self.pace = Pace(save_steps, 60)
        self.saver = Saver(self.work, self.state, self.pace, num_steps=9)

    def state(self):
        return Snapshot(int(self.weight[0]), {"w": self.weight}, {}, {"curve": []})

    def step(self):
        self.weight += 1
        self.saver.boundary(int(self.weight[0]))

    def newest(self):
        return snapshots.newest(self.work.partial, pytest.fail)

    def told(self, kind):
        return [event for event in self.work.events if event["kind"] == kind]


@pytest.fixture
def slow_disk(monkeypatch):
    """A disk that is written to only when the test says so."""
    ready = threading.Event()
    write = snapshots.save

    def save(partial, snapshot):
        assert ready.wait(10)
        return write(partial, snapshot)

    monkeypatch.setattr(snapshots, "save", save)
    return ready


def test_what_is_saved_is_the_state_at_the_call(tmp_path, slow_disk):
    phase = Phase(tmp_path, save_steps=2)
    with phase.saver:
        for _ in range(3):
            phase.step()
        phase.weight.fill_(99)
        slow_disk.set()
    found = phase.newest()
    assert found.step == 2
    assert torch.equal(found.weights["w"], torch.full((5,), 2.0))
    [event] = phase.told("snapshot")
    assert event["background"]
    assert event["waited_seconds"] <= event["seconds"]


def test_training_that_mutates_right_after_the_call_does_not_reach_the_file(tmp_path, monkeypatch):
    """The same with the real loop: saves that are written late hold the weights of their step."""
    late = threading.Event()
    write = snapshots.save

    def save(partial, snapshot):
        late.wait(0.2)
        return write(partial, snapshot)

    monkeypatch.setattr(snapshots, "save", save)
    work = make_work(tmp_path / "saved")
    train(make_model(), make_stream(5), work, settings=replace(SETTINGS, save_steps=4))
    found = snapshots.newest(work.partial, pytest.fail)

    seen = []
    stopped = make_model()
    stopped_work = make_work(tmp_path / "stopped", stop=lambda: len(seen) == 4)
    stopped_work.on_progress = lambda *told: seen.append(told)
    with pytest.raises(Interrupted, match="after optimizer step 4 of 5, saved"):
        train(stopped, make_stream(5), stopped_work, settings=SETTINGS)
    assert found.step == 4
    assert same(dict(found.weights), weights(stopped))


def test_the_next_save_waits_for_the_one_before(tmp_path, slow_disk):
    phase = Phase(tmp_path)
    with phase.saver:
        phase.step()
        timer = threading.Timer(0.1, slow_disk.set)
        timer.start()
        phase.step()
    assert [event["optimizer_step"] for event in phase.told("snapshot")] == [1, 2]
    assert phase.told("snapshot")[1]["waited_seconds"] > 0.05


def test_an_error_of_the_thread_is_raised_at_the_next_boundary(tmp_path, monkeypatch):
    phase = Phase(tmp_path)
    with phase.saver:
        phase.step()
        phase.saver.wait()

        def full(kind, path):
            if path.name == "MANIFEST.json":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(durable, "on_file_event", full)
        phase.step()
        phase.saver.wait()
        with pytest.raises(StoreError, match=r"disk .* is full.*needs about 20 bytes"):
            phase.step()
    assert phase.newest().step == 1
    assert [path.name for path in (phase.work.partial / "snapshots").iterdir()] == ["step-00000001"]
    [failed] = phase.told("snapshot failed")
    assert failed["optimizer_step"] == 2


@pytest.fixture(params=["little free", "a small machine", "no room for the copy"])
def short_memory(request, monkeypatch):
    """Memory in which no copy is made; it takes 20 bytes."""

    def full(live):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    match request.param:
        case "little free":
            monkeypatch.setattr(saving, "free_bytes", lambda: 30)
        case "a small machine":
            monkeypatch.setattr(saving, "CPU_BYTES", 300)
        case _:
            monkeypatch.setattr(snapshots, "copied", full)


@pytest.mark.usefixtures("short_memory")
def test_where_memory_is_short_the_next_step_waits_before_it_changes_weights(tmp_path, slow_disk):
    phase = Phase(tmp_path, save_steps=2)
    with phase.saver:
        for _ in range(2):
            phase.saver.before_change()
            phase.step()
        threading.Timer(0.1, slow_disk.set).start()
        assert not phase.told("snapshot")  # and the gradients of the next step are computed
        phase.saver.before_change()
        phase.weight.fill_(99)
    found = phase.newest()
    assert found.step == 2
    assert torch.equal(found.weights["w"], torch.full((5,), 2.0))


@pytest.mark.usefixtures("short_memory")
def test_without_a_copy_the_real_loop_saves_the_weights_of_the_step(tmp_path, monkeypatch):
    write = snapshots.save

    def save(partial, snapshot):
        threading.Event().wait(0.2)
        return write(partial, snapshot)

    monkeypatch.setattr(snapshots, "save", save)
    work = make_work(tmp_path / "saved")
    train(make_model(), make_stream(5), work, settings=replace(SETTINGS, save_steps=4))
    found = snapshots.newest(work.partial, pytest.fail)
    assert found.step == 4
    again = make_work(tmp_path / "again")
    train(make_model(), make_stream(5), again, settings=replace(SETTINGS, save_steps=1))
    exact = snapshots.newest(again.partial, pytest.fail)
    assert same(dict(found.weights), dict(exact.weights))


def test_with_a_copy_no_step_waits(tmp_path, slow_disk):
    phase = Phase(tmp_path, save_steps=2)
    with phase.saver:
        phase.step()
        phase.step()
        phase.saver.before_change()  # would wait for ten seconds
        phase.weight.fill_(99)
        slow_disk.set()
    assert torch.equal(phase.newest().weights["w"], torch.full((5,), 2.0))


def test_a_stop_saves_what_fits_in_its_time(tmp_path):
    asked = []
    phase = Phase(tmp_path, stop=lambda: bool(asked), save_steps=9)
    phase.saver.leave_unless_it_fits(0, pytest.fail)
    phase.step()
    asked.append(True)
    phase.saver.leave_unless_it_fits(1, lambda: 9.0)
    with pytest.raises(Interrupted, match="after optimizer step 1 of 9, saving would take too"):
        phase.saver.leave_unless_it_fits(1, lambda: 10.0)
    with pytest.raises(Interrupted, match="after optimizer step 2 of 9, saved"):
        phase.step()
    assert phase.newest().step == 2


def test_a_stop_that_leaves_no_time_keeps_the_snapshot_being_written(tmp_path, slow_disk):
    asked = []
    phase = Phase(tmp_path, stop=lambda: bool(asked), save_steps=2)
    phase.step()
    phase.step()
    asked.append(True)
    phase.pace.save_seconds = 6.0  # 6 for the one being written, 6 for another
    threading.Timer(0.1, slow_disk.set).start()
    with pytest.raises(Interrupted, match="the last snapshot stands"), phase.saver:
        phase.step()
    assert phase.newest().step == 2


def test_an_unfinished_write_is_waited_for_when_training_fails(tmp_path, slow_disk):
    phase = Phase(tmp_path)

    def fails():
        with phase.saver:
            phase.step()
            threading.Timer(0.1, slow_disk.set).start()
            raise KeyError("another error")

    with pytest.raises(KeyError):
        fails()
    assert phase.newest().step == 1
