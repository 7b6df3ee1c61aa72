"""A run by several workers: the same bytes as a run by one process."""

import csv
import json
import math
import os
import pickle
import random
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from retain import api
from retain.api import where
from retain.api.prepared import prepare
from retain.api.where import Where, carry_out_where
from retain.cli import main
from retain.errors import RetainError
from retain.estimate import Needs, make_plan
from retain.execute import Quiet, ordered
from retain.execute.worker import Assignment
from retain.model.memory import free_bytes
from retain.model.threads import threads
from retain.pipeline.runners import Runners
from retain.steps import Store, read_journal
from retain.steps.packed import pack, unpack
from tests.execute import toys
from tests.kills.project import content

WRITES = {"method": "tree_generation", "num_tokens": 1200, "languages": ["ne"]}  # cannot be met


@pytest.fixture
def values(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("old", "new"):
        rows = [{"text": f"{name} {number} and five words more"} for number in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = {"learning_rate": 1e-3, "max_steps": 2, "batch_size": 4, "precision": "fp32"}
    train |= {"objective": "pretrain", "max_length": 64}
    return {
        "name": "toy",
        "model": str(tiny_model_folder),
        "phases": [{"name": name, "data": f"{name}.jsonl", "train": train} for name in
                   ("old", "new")],
        "evaluate": {"tasks": ["phases"]},
        "arms": {
            "none": [],
            "replay": [{"method": "experience_replay", "share": 0.2}],
            "lora": {"train": {"tuning": "lora", "lora_r": 2}},
        },
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Bytes are equal at equal threads: a worker has its part of the cores, or what this says."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with threads(1):
        yield


def carried_out(values, **where):
    prepared = prepare(values, (), Path("runs"), None)
    return carry_out_where(Where(**where), prepared, None, Quiet())


def test_two_workers_leave_the_bytes_that_one_process_leaves(values, tmp_path):
    alone = carried_out(values)
    (tmp_path / "runs").rename(tmp_path / "alone")  # adapters name the folder of their base
    together = carried_out(values, jobs=2)

    assert set(together.done) == set(alone.done)
    stores = [Store(tmp_path / runs / ".steps") for runs in ("alone", "runs")]
    for step in alone.done:
        assert content(stores[0].path(step)) == content(stores[1].path(step)), step
    journal = read_journal(tmp_path / "runs" / "toy" / "journal.jsonl")
    assert len({event["worker"] for event in journal if event["event"] == "step started"}) == 2
    assert carried_out(values, jobs=2).done == ()


@pytest.mark.slow
@pytest.mark.parametrize("on", ["here", "ray"])
def test_the_same_tables_come_of_any_number_of_jobs_anywhere(values, tmp_path, on):
    api.run(values)
    (tmp_path / "runs").rename(tmp_path / "alone")
    api.run(values, jobs=2, on=on)
    for name in ("scores.csv", "measures.csv"):
        files = [tmp_path / runs / "toy" / name for runs in ("alone", "runs")]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_killed_workers_change_no_byte(values, tmp_path):
    values["evaluate"]["limit"] = 20
    alone = carried_out(values)
    (tmp_path / "runs").rename(tmp_path / "alone")
    path = tmp_path / "runs" / "toy" / "journal.jsonl"
    killed, over = [], threading.Event()

    def kill():
        draw, seen = random.Random(0), 0
        while not over.wait(0.02):
            started = [e for e in read_journal(path) if e["event"] == "step started"]
            for event in started[seen:]:
                if len(killed) < 6 and event["step"] not in {one["step"] for one in killed}:
                    time.sleep(0.3 * draw.random())
                    killed.append(event)
                    with suppress(ProcessLookupError):  # killed over the step before
                        os.kill(int(event["worker"].split()[1]), signal.SIGKILL)
            seen = len(started)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        together = carried_out(values, jobs=2)
    finally:
        over.set()
        killer.join()

    # what a worker finished and was killed over before it told is found finished
    assert {*together.done, *together.reused} == set(alone.done)
    lost = [event for event in read_journal(path) if event["event"] == "worker lost"]
    assert len(killed) == 6
    assert len(lost) >= 3
    stores = [Store(tmp_path / runs / ".steps") for runs in ("alone", "runs")]
    for step in alone.done:
        assert content(stores[0].path(step)) == content(stores[1].path(step)), step


@pytest.mark.slow
def test_an_arm_is_lost_as_in_one_process(values, tmp_path):
    values["arms"] = {"writes": [WRITES], "none": []}
    with pytest.raises(RetainError, match="Raise answer_tokens or question_tokens"):
        api.run(values, jobs=2)
    with (tmp_path / "runs" / "toy" / "scores.csv").open() as file:
        assert {row["arm"] for row in csv.DictReader(file)} == {"none"}


def test_what_does_the_steps_can_be_sent(values):
    values["arms"] |= {
        "writes": [{"method": "tree_generation", "num_tokens": 1000}],
        "answers": [{"method": "generative_replay", "share": 0.1}],
    }
    prepared = prepare(values, (), Path("runs"), None)
    runners = Runners(prepared.resolved, prepared.graph)

    assert vars(pickle.loads(pickle.dumps(runners))) == vars(runners)
    assert unpack(pack(ordered(prepared.graph.steps))) == ordered(prepared.graph.steps)


def test_steps_need_what_the_plan_says(values, tmp_path):
    prepared = prepare(values, (), tmp_path / "runs", None)
    plan = make_plan(prepared.resolved, prepared.graph, prepared.store)
    needs = Needs(prepared.resolved, prepared.graph, prepared.store)
    assert max(line.seconds for line in plan.lines) < plan.chain_seconds < 0.7 * plan.seconds
    for line in plan.lines:
        found = needs.memory_bytes(line.step)
        assert found >= line.memory_bytes
        if line.step.kind in ("evaluate", "boundary"):
            assert found == line.memory_bytes
        if line.step.kind == "train":  # its mix is not written yet: counted as full
            assert found < 1.5 * line.memory_bytes
        assert found > 10**8


def test_a_worker_with_a_gpu_has_its_memory_to_itself(values, monkeypatch):
    prepared = prepare(values, (), Path("runs"), None)
    assignment = Assignment(prepared.store.root, (), toys.run)
    for gpus, room in (("0,1", math.inf), ("", free_bytes())):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        staff, memory = where._staff(Where(jobs=2), prepared, assignment)
        assert staff.most == 2
        assert memory.room_bytes == pytest.approx(room, rel=0.5)


def test_no_such_number_of_jobs(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "quickstart", "--jobs", "0"])
    assert stop.value.code == 1
    assert "--jobs: got 0; give 1 or more" in capsys.readouterr().err


def test_no_such_place(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "quickstart", "--on", "rays"])
    assert stop.value.code == 1
    assert "unknown place 'rays'. Did you mean 'ray'?" in capsys.readouterr().err
