"""One train step by several processes: the same results, and what happens when one dies."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil
import pytest
import torch
from safetensors.torch import load_file

from retain.errors import Interrupted, TrainingError
from retain.methods.base import Method
from retain.model import cache
from retain.train.ranks import LostProcessError, device_for
from retain.train.stream import Stream
from tests.kills.project import content
from tests.train.phases import make_row, make_stream
from tests.train.rank_script import Together

SURVIVORS_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _no_model_is_kept():
    cache.clear()
    yield
    cache.clear()


def losses(folder):
    lines = (folder / "curve.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def followers(of=None):
    """The other processes of a train step that is under way."""
    children = psutil.Process(of).children()
    return [one for one in children if "follower" in " ".join(one.cmdline())]


def kill_one(of=None):
    followers(of)[-1].send_signal(signal.SIGKILL)


def same_content(one, other):
    """Whether two train steps left the same, times apart."""
    left, right = content(one), content(other)
    return left == right


def test_two_processes_learn_what_one_learns_and_survive_a_death(tmp_path, tiny_model_folder):
    """50 steps; a process is killed on the way, and the same step goes on with one, then two."""
    alone = Together(tmp_path / "alone", tiny_model_folder)
    expected = losses(alone.run())
    killed = Together(tmp_path / "killed", tiny_model_folder)
    died = []

    def at_step(number):
        if number == 23:
            kill_one()
            died.append(time.monotonic())

    with pytest.raises(LostProcessError, match="process 1 of this step's 2 was killed by SIGKILL"):
        killed.run(2, at_step=at_step)
    assert time.monotonic() - died[0] < SURVIVORS_SECONDS
    assert followers() == []
    found = losses(killed.run(1))
    resumed = [event["optimizer_step"] for event in killed.events if event["kind"] == "resumed"]
    assert resumed in ([20], [15])
    assert found == pytest.approx(expected, abs=1e-5)
    one, two = (load_file(one.folder / "model" / "model.safetensors") for one in (alone, killed))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=0)


def asked(what, folder):
    """What ranks that are forks find: see ``tests.train.forked``."""
    command = [sys.executable, "-m", "tests.train.forked", what, str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["kills", pytest.param("kills of shards", marks=pytest.mark.slow)])
def test_a_rank_killed_at_saves_and_at_steps_changes_no_byte(tmp_path, kind):
    found = asked(kind, tmp_path)
    assert found["outlived_seconds"] < SURVIVORS_SECONDS
    assert not found["finished_in_spite"]
    assert found["resumed"]
    assert found["from_undisturbed"] == [0, 0]
    assert max(found["from_one"]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["numbers", "numbers of shards"])
def test_a_phase_goes_on_with_any_number_of_ranks(tmp_path, kind):
    found = asked(kind, tmp_path)
    assert found["resumed"] == [31]
    assert max(found["from_one"]) < 1e-5
    assert max(found["pieces_from_one"]) < 1e-5


@pytest.mark.slow
def test_blocks_divided_in_bf16_are_rounded_as_whole_ones(tmp_path):
    assert max(asked("rounded", tmp_path)["apart"]) < 1e-6


@pytest.mark.slow
def test_where_blocks_are_divided_a_rank_takes_little_more_than_half(tmp_path):
    libraries, alone, *ranks = asked("memory", tmp_path)
    assert max(ranks) - libraries <= 0.6 * (alone - libraries)


@pytest.mark.slow
def test_a_step_whose_blocks_are_divided_leaves_what_one_process_leaves(
    tmp_path, tiny_model_folder
):
    stream = make_stream(num_steps=5, epochs=2)
    one = Together(tmp_path / "one", tiny_model_folder, stream, during_phase=1)
    two = Together(tmp_path / "two", tiny_model_folder, stream, during_phase=1)
    asked_at = []
    with pytest.raises(Interrupted):
        two.run(
            2,
            shard=True,
            stop=lambda: bool(asked_at),
            at_step=lambda number: asked_at.append(1) if number == 7 else None,
        )
    asked_at.clear()
    assert losses(two.run(2, shard=True)) == pytest.approx(losses(one.run()), abs=1e-5)
    for name in ("model", "checkpoints/1"):
        left, right = (load_file(made.folder / name / "model.safetensors") for made in (one, two))
        assert left.keys() == right.keys()
        for key, value in left.items():
            torch.testing.assert_close(right[key], value, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_model_folder):
    """A step trained by two processes that nobody disturbed."""
    made = Together(tmp_path_factory.mktemp("undisturbed") / "steps", tiny_model_folder)
    made.run(2)
    return made


@pytest.mark.slow
def test_where_the_step_itself_is_killed_its_processes_leave(
    tmp_path, tiny_model_folder, undisturbed
):
    made = Together(tmp_path / "steps", tiny_model_folder)
    command = [sys.executable, "-m", "tests.train.rank_script", str(tmp_path / "steps"),
               str(tiny_model_folder), "2"]  # fmt: skip
    snapshots = made.bench.store.partial(made.step) / "snapshots"
    for number in (3, 9):
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}) as one:
            while not (snapshots / f"step-{number:08d}").exists():
                assert one.poll() is None
                time.sleep(0.01)
            others = followers(one.pid)
            one.kill()
        assert len(others) == 1
        psutil.wait_procs(others, timeout=SURVIVORS_SECONDS)
        assert not any(other.is_running() for other in others)
    made.run(2)
    assert same_content(made.folder, undisturbed.folder)


@pytest.mark.slow
def test_a_signal_saves_and_another_number_goes_on(tmp_path, tiny_model_folder, undisturbed):
    made = Together(tmp_path / "steps", tiny_model_folder)
    asked = []
    for processes, until in ((2, 8), (1, 19), (3, 28), (2, 35)):
        with pytest.raises(Interrupted, match=f"step {until} of 50, saved"):
            made.run(
                processes,
                stop=lambda: bool(asked),
                at_step=lambda number, until=until: asked.append(1) if number == until else None,
                save_steps=100,
            )
        asked.clear()
        assert followers() == []
    found = losses(made.run(2))
    assert found == pytest.approx(losses(undisturbed.folder), abs=1e-5)
    resumed = [e for e in made.events if e["kind"] == "resumed" and "process" not in e]
    assert [e["optimizer_step"] for e in resumed] == [8, 19, 28, 35]


@dataclass(frozen=True, kw_only=True)
class Everything(Method):
    """Acts in every hook of training: pulls weights, turns gradients, averages."""

    name = "everything"

    def penalty(self, model, batch, hidden, head, memory):
        return 1e-3 * hidden.float().square().mean()

    def project(self, gradients, past_gradients):
        return {name: gradient * 0.5 for name, gradient in gradients.items()}

    def after_step(self, parameters, memory, step):
        return {name: value * 0.999 for name, value in parameters.items()}


CASES = {
    "lora": {"tuning": "lora", "lora_r": 4},
    "qlora": {"tuning": "qlora", "lora_r": 4},
    "8 bits": {"optimizer": "adamw_8bit"},
    "methods": {"methods": (Everything(),)},
    "recomputed": {"gradient_checkpointing": True},
    "during phase": {"during_phase": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_the_same_whatever_moves(tmp_path, tiny_model_folder, case):
    stream = make_stream(num_steps=3, epochs=2)
    one = Together(tmp_path / "one", tiny_model_folder, stream, **CASES[case])
    two = Together(tmp_path / "two", tiny_model_folder, stream, **CASES[case])
    assert losses(two.run(2)) == pytest.approx(losses(one.run()), abs=1e-5)
    names = {path.relative_to(one.folder) for path in one.folder.rglob("*")}
    assert names == {path.relative_to(two.folder) for path in two.folder.rglob("*")}


@pytest.mark.slow
def test_a_step_of_fewer_sequences_than_processes(tmp_path, tiny_model_folder):
    """The process without a sequence gets its gradients from the others."""
    stream = Stream(tuple((make_row(f"e{i}", 12),) for i in range(4)))
    one = Together(tmp_path / "one", tiny_model_folder, stream)
    two = Together(tmp_path / "two", tiny_model_folder, stream)
    assert losses(two.run(3)) == pytest.approx(losses(one.run()), abs=1e-6)


@pytest.mark.slow
def test_what_another_process_raises_is_the_steps_error(tmp_path, tiny_model_folder):
    made = Together(tmp_path / "steps", tiny_model_folder, methods=(Broken(home=os.getpid()),))
    with pytest.raises(LostProcessError, match="process 1 of 2: ValueError: not here"):
        made.run(2)
    assert followers() == []


@dataclass(frozen=True, kw_only=True)
class Broken(Method):
    """Fails in every process but the test's own."""

    name = "broken"

    home: int

    def prepare(self, model, rng):
        if os.getpid() != self.home:
            raise ValueError("not here")


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("retain.train.ranks.device_of", lambda wanted: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match="2 needs as many GPUs, and this process sees 1"):
        device_for(2)
    monkeypatch.setattr("retain.train.ranks.device_of", lambda wanted: torch.device("mps"))
    with pytest.raises(TrainingError, match=r"works on cpu and cuda, and this machine .* mps"):
        device_for(2)
