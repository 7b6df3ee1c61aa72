"""Workers that are processes: what a kill, a signal and the death of the leader leave behind."""

import os
import signal
import time

import pytest

from retain.errors import RetainError
from retain.execute import carry_out_by, ordered, processes
from retain.execute.processes import GPUS, THREADS, Processes, threads_each, visible_gpus
from retain.execute.worker import Assignment
from retain.steps import Store
from retain.steps.packed import pack
from tests.execute import toys
from tests.execute.led import alive, counts, events, started, wait_for, workers
from tests.execute.toys import toy


@pytest.fixture
def go(store, journal, heard):
    def do(graph, most=2, **more):
        staff = Processes(Assignment(store.root, pack(ordered(graph)), toys.run), most)
        return carry_out_by(staff, graph, store, journal=journal, listener=heard, **more)

    return do


def test_two_processes_share_the_steps_and_the_threads(go, store, monkeypatch):
    monkeypatch.delenv(THREADS, raising=False)
    monkeypatch.setattr(processes, "num_cores", lambda: 6)
    graph = [toy(name, kind="place") for name in "abcdef"]
    go(graph)
    places = [store.open(step, "text").read_text().split() for step in graph]

    assert {threads for _, threads in places} == {"3"}
    assert os.getpid() not in {int(pid) for pid, _ in places}
    assert 1 <= len({pid for pid, _ in places}) <= 2


def test_a_killed_worker_costs_its_step_a_second_try(go, store, journal, heard):
    graph = [toy("sick", kind="dies", deaths=2), toy("other")]
    summary = go(graph)

    assert set(summary.done) == set(graph)
    lost = events(journal.path, "worker lost")
    assert [(event["step"], event["attempt"], event["reason"]) for event in lost] == [
        (graph[0].folder, 1, "killed by SIGKILL"),
        (graph[0].folder, 2, "killed by SIGKILL"),
    ]
    assert any("another worker goes on with it" in told[1] for told in heard.told)
    assert not list((store.root / ".tmp").iterdir())  # what it was writing is gone


def test_a_step_that_kills_every_worker_is_an_error_with_advice(go, journal):
    sick = toy("sick", kind="dies", deaths=9)
    with pytest.raises(RetainError, match=r"attempt 3 of 3.*fewer --jobs"):
        go([sick])
    assert [event["attempt"] for event in events(journal.path, "worker lost")] == [1, 2, 3]


def test_a_worker_that_is_told_to_leave_is_replaced(go, journal):
    graph = [toy("x", kind="left"), toy("y", inputs=[toy("z")])]
    assert set(go(graph).done) == set(ordered(graph))
    assert events(journal.path, "worker lost")[0]["reason"] == "it was told to leave"


def test_what_a_worker_prints_is_shown_and_told_with_its_end(go, heard, store, journal):
    with pytest.raises(Exception, match="ZeroDivisionError in a worker"):
        go([toy("x", kind="bug")])
    assert ("message", "dividing") in heard.told


def test_workers_that_cannot_start_end_it(store, journal):
    graph = [toy("a")]
    staff = Processes(Assignment(store.root, pack(graph), toys.run, begin=toys.do_bug_at_start), 2)
    with pytest.raises(RetainError, match=r"(?s)died as they started.*cannot begin"):
        carry_out_by(staff, graph, store, journal=journal)


def test_threads_and_gpus(monkeypatch, store):
    monkeypatch.setattr(processes, "num_cores", lambda: 8)
    monkeypatch.delenv(THREADS, raising=False)
    assert [threads_each(most) for most in (1, 3, 8, 20)] == [8, 2, 1, 1]
    monkeypatch.setenv(THREADS, "5")  # said for every process: meant for every process
    assert threads_each(3) == 5
    monkeypatch.setenv(GPUS, "0,3")
    assert visible_gpus() == ["0", "3"]
    assignment = Assignment(store.root, (), toys.run)
    with pytest.raises(RetainError, match=r"--jobs 3: .* 2 GPU.*--jobs 2 or fewer"):
        Processes(assignment, 3)
    with Processes(assignment, 2) as staff:
        hired = [staff.hire() for _ in range(2)]
        assert sorted(staff._living[one] for one in hired) == ["0", "3"]


# ---------------------------------------------------------------- signals to the whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_every_step_save_and_the_same_command_goes_on(tmp_path, start, number):
    process = start("saving", "saving")
    wait_for(lambda: len(counts(tmp_path)) == 2)
    process.send_signal(number)

    assert process.wait(10) == 130
    interrupted = events(tmp_path / "journal.jsonl", "step interrupted")
    assert {event["error"] for event in interrupted} == {"Interrupted"}
    assert len(interrupted) == 2
    wait_for(lambda: not any(map(alive, workers(tmp_path))))
    saved = counts(tmp_path)
    assert start("saving", "saving").wait(20) == 0
    resumed = events(tmp_path / "journal.jsonl", "counting")[-2:]
    assert sorted(event["start"] for event in resumed) == saved


def test_the_second_signal_leaves_at_once_and_takes_the_workers_along(tmp_path, start):
    process = start("deaf", "deaf")
    wait_for(lambda: len(started(tmp_path)) == 2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)

    assert process.wait(3) == 130
    wait_for(lambda: not any(map(alive, workers(tmp_path))), 3)
    with Store(tmp_path / ".steps").for_myself():
        pass


def test_workers_whose_leader_is_killed_save_and_leave(tmp_path, start):
    process = start("saving", "saving")
    wait_for(lambda: len(counts(tmp_path)) == 2)
    process.kill()
    wait_for(lambda: not any(map(alive, workers(tmp_path))), 5)

    assert start("saving", "saving").wait(20) == 0
    assert all(event["start"] for event in events(tmp_path / "journal.jsonl", "counting")[-2:])


def test_a_second_leader_is_refused(tmp_path, start):
    process = start("saving", "saving")
    wait_for(lambda: len(started(tmp_path)) == 2)
    other = start("saving", "saving")

    assert other.wait(10) == 1
    assert f"process {process.pid}".encode() in other.stderr.read()
    process.send_signal(signal.SIGTERM)
    process.wait(10)
