"""Model folders of inside a phase: where, bit for bit, and after interruption and damage."""

import json
from hashlib import sha256

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM

from retain.errors import Interrupted, TrainingError
from retain.model import cache
from retain.steps.step import Step
from retain.train import step
from retain.train.checkpoints import steps_inside
from retain.train.stream import Stream
from tests.train.phases import make_row, make_stream, same, weights
from tests.train.test_train_step import REFERENCE, SETTINGS, Bench

NUM_STEPS, INSIDE = 8, (2, 5)
CONSTANT = {"lr_scheduler_type": "constant", "warmup_steps": 0}
ADAPTER = {"tuning": "lora", "lora_r": 4, "lora_alpha": 8.0}
IDS = torch.from_numpy(make_row("x", 30).input_ids)[None]


@pytest.fixture(autouse=True)
def _no_model_is_kept():
    cache.clear()
    yield
    cache.clear()


def bench_of(root, base, num_steps=NUM_STEPS):
    return Bench(root, base, Stream(make_stream(NUM_STEPS).steps[:num_steps]))


@pytest.fixture
def bench(tmp_path, tiny_model_folder):
    return bench_of(tmp_path / "steps", tiny_model_folder)


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("record.json", "MANIFEST.json", "curve.jsonl")
        and path.name != "facts.json"
    }  # fmt: skip


@given(number=st.integers(1, 30), more=st.integers(1, 200))
def test_places_are_inside_rise_and_are_evenly_apart(number, more):
    num_steps = number + more
    steps = steps_inside(number, num_steps)
    gaps = {b - a for a, b in zip((0, *steps), (*steps, num_steps), strict=True)}
    assert len(steps) == number
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


def test_a_phase_too_short_for_so_many_is_refused(bench):
    with pytest.raises(TrainingError, match="a phase of 8 optimizer steps has 7 boundaries"):
        bench.train(during_phase=8)


def test_each_is_what_a_phase_that_ended_there_leaves(bench, tmp_path, tiny_model_folder):
    folder = bench.store.path(bench.train(during_phase=2, **CONSTANT))
    facts = json.loads((folder / "facts.json").read_text())
    places = [{"place": n, "optimizer_step": s} for n, s in enumerate(INSIDE, start=1)]
    assert facts["checkpoints"] == places
    for place, num_steps in enumerate(INSIDE, start=1):
        short = bench_of(tmp_path / f"short-{place}", tiny_model_folder, num_steps)
        ends = short.store.path(short.train(**CONSTANT)) / "model"
        kept = folder / "checkpoints" / str(place)
        assert same(*(weights(AutoModelForCausalLM.from_pretrained(f)) for f in (kept, ends)))
        assert {p.name for p in kept.iterdir()} == {p.name for p in ends.iterdir()}
        assert f"step {num_steps}" in (kept / "README.md").read_text()
    assert not list(bench.store.root.rglob("*/checkpoints/*/MANIFEST.json"))


def test_keeping_them_changes_nothing_else(bench):
    plain, keeping = bench.train(), bench.train(during_phase=2)
    ends = [digests(bench.store.path(one) / "model") for one in (plain, keeping)]
    assert ends[0] == ends[1]
    assert "during_phase" not in plain.settings


def train_until(bench, one, asked):
    """Run a train step until it has asked so often whether to stop; what it left in partial."""
    left = [asked]

    def stop():
        left[0] -= 1
        return left[0] < 0

    def train(work):
        bench.partial = work.partial
        step.run(work, base=bench.base, save_steps=bench.save_steps)

    bench.run(one, train, stop)


@pytest.mark.parametrize("save_steps", [1, 100])
def test_a_resume_leaves_the_same_ones(tmp_path, tiny_model_folder, save_steps):
    whole = bench_of(tmp_path / "whole", tiny_model_folder)
    wanted = digests(whole.store.path(whole.train(during_phase=2)))
    stopped = bench_of(tmp_path / "stopped", tiny_model_folder)
    stopped.save_steps = save_steps
    one = Step("train", "p1", 1, SETTINGS | REFERENCE | {"during_phase": 2}, {"mix": stopped.mix})
    interruptions = 0
    for asked in (5, 3, 5, 1000):
        try:
            train_until(stopped, one, asked)
        except Interrupted:
            interruptions += 1
            cache.clear()
        else:
            break
    assert interruptions >= 2
    assert digests(stopped.store.path(one)) == wanted


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_one_is_made_again(tmp_path, tiny_model_folder, damage):
    whole = bench_of(tmp_path / "whole", tiny_model_folder)
    wanted = digests(whole.store.path(whole.train(during_phase=2)))
    hurt = bench_of(tmp_path / "hurt", tiny_model_folder)
    hurt.save_steps = 1
    one = Step("train", "p1", 1, SETTINGS | REFERENCE | {"during_phase": 2}, {"mix": hurt.mix})
    with pytest.raises(Interrupted):
        train_until(hurt, one, 10)
    cache.clear()
    path = hurt.partial / "checkpoints" / "1" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 8]) + content[-8:])
    if damage == "remove":
        path.unlink()
    train_until(hurt, one, 1000)
    assert digests(hurt.store.path(one)) == wanted


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.mark.parametrize("handover", ["continue_adapter", "new_adapter", "merge_then_new"])
def test_adapters_inside_a_phase_open_in_plain_peft(bench, handover):
    first = bench.train(**ADAPTER)
    options = ADAPTER | CONSTANT | {"handover": handover, "phase": "p2"}
    plain = bench.store.path(bench.train({"model": first}, **options))
    keeping = bench.store.path(bench.train({"model": first}, during_phase=2, **options))
    ends = [AutoPeftModelForCausalLM.from_pretrained(one / "model") for one in (plain, keeping)]
    assert torch.equal(*map(logits, ends))
    seen = [logits(ends[1])]
    for place in ("1", "2"):
        kept = AutoPeftModelForCausalLM.from_pretrained(keeping / "checkpoints" / place)
        seen.append(logits(kept))
    distances = [(one - seen[0]).abs().max().item() for one in seen]
    assert distances[1] > distances[2] > distances[0] == 0
