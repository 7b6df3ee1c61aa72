"""Whole steps in a real store: train, and the hooks that have a step of their own."""

import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from retain.errors import ModelError, RecipeError, TrainingError
from retain.methods.base import Method
from retain.methods.freeze import Freeze
from retain.methods.given import Memory, Trainable
from retain.model import cache
from retain.steps.step import Step
from retain.steps.store import Store
from retain.train import finish_step, remember_step, step, trainable_step
from retain.train.memory import read_memories
from retain.train.stream import Stream, read_stream
from tests.conftest import make_model
from tests.train.families import FAMILIES
from tests.train.phases import make_row, make_stream, same, weights

SETTINGS = {"learning_rate": 1e-2, "precision": "fp32", "seed": 3, "phase": "p1"}
REFERENCE = {"model": {"reference": "tiny"}}


@pytest.fixture(autouse=True)
def _no_model_is_kept():
    cache.clear()
    yield
    cache.clear()


def write_stream(stream: Stream, path):
    rows = [(number, row) for number, rows in enumerate(stream.steps) for row in rows]
    table = {
        "step": pa.array([number for number, _ in rows], pa.int32()),
        "example_id": [row.example_id for _, row in rows],
        "source": [row.source for _, row in rows],
        "input_ids": pa.array([row.input_ids.tolist() for _, row in rows], pa.list_(pa.int32())),
        "trained": pa.array([row.trained.tolist() for _, row in rows], pa.list_(pa.bool_())),
        "weight": pa.array([row.weight for _, row in rows], pa.float32()),
    }
    parquet.write_table(pa.table(table), path)


class Bench:
    """A store with a finished mix, and a way to run a step in it."""

    def __init__(self, root, base, stream=None):
        self.store, self.base = Store(root), base
        self.mix = Step("mix", "mix", 1, {"of": root.name})
        if self.store.finished(self.mix):  # by another process of the test
            return
        self.run(
            self.mix,
            lambda work: write_stream(stream or make_stream(3), work.output / "stream.parquet"),
        )

    def run(self, one: Step, runner, stop=lambda: False):
        with self.store.begin(one, stop=stop) as work:
            runner(work)
        return self.store.path(one)

    def train(self, inputs=None, methods=(), **settings):
        values = SETTINGS | REFERENCE | settings
        one = Step("train", "p1", 1, values, {"mix": self.mix, **(inputs or {})})
        self.run(one, lambda work: step.run(work, base=self.base, methods=methods))
        return one


@pytest.fixture
def bench(tmp_path, tiny_model_folder):
    return Bench(tmp_path / "steps", tiny_model_folder)


def test_a_train_step_leaves_a_folder_that_opens_without_us(bench):
    folder = bench.store.path(bench.train())
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")

    assert not same(weights(model), weights(make_model()))
    assert tokenizer.apply_chat_template([{"role": "user", "content": "cat"}], tokenize=False)
    names = {path.name for path in (folder / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    original = (bench.base / "tokenizer.json").read_bytes()
    assert (folder / "model" / "tokenizer.json").read_bytes() == original
    assert json.loads((folder / "model" / "config.json").read_text())["dtype"] == "float32"

    facts = json.loads((folder / "facts.json").read_text())
    assert facts["steps"] == 3
    assert facts["tokens"] == 195
    assert facts["trainable_parameters"] == facts["total_parameters"]
    curve = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == [1, 2, 3]
    assert bench.store.record(Step("train", "x", 1, SETTINGS | REFERENCE, {"mix": bench.mix}))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_saved_model_is_bit_for_bit_the_trained_one(tmp_path, tokenizer, family):
    base = tmp_path / "base"
    FAMILIES[family]().save_pretrained(base)
    tokenizer.save_pretrained(base)
    bench = Bench(tmp_path / "steps", base)
    folder = bench.store.path(bench.train()) / "model"
    kept = cache.get(folder, precision="fp32").model
    opened = AutoModelForCausalLM.from_pretrained(folder)

    ids = torch.from_numpy(make_row("x", 30).input_ids)[None]
    with torch.no_grad():
        assert torch.equal(kept(input_ids=ids).logits, opened(input_ids=ids).logits)
    assert same(weights(kept), weights(opened))
    tied = opened.lm_head.weight is opened.get_input_embeddings().weight
    assert tied == (family != "llama_untied")


def test_a_phase_goes_on_from_the_one_before_whether_kept_in_memory_or_not(bench, tmp_path):
    first = bench.train()
    kept = bench.store.path(bench.train({"model": first}))
    again = Bench(tmp_path / "again", bench.base)
    first = again.train()
    cache.clear()
    read = again.store.path(again.train({"model": first}))
    one = AutoModelForCausalLM.from_pretrained(kept / "model")
    two = AutoModelForCausalLM.from_pretrained(read / "model")
    assert same(weights(one), weights(two))


def test_the_trainable_step_decides_what_moves(bench):
    freeze = Freeze(select="first", num_layers=1)
    choice = Step("trainable", "t", 1, {"seed": 0, "phase": "p1"})
    chosen = bench.run(
        choice, lambda work: trainable_step.run(work, base=bench.base, method=freeze)
    )
    content = json.loads((chosen / "trainable.json").read_text())
    assert "model.norm.weight" in content["names"]
    assert "model.embed_tokens.weight" not in content["names"]
    assert 0 < content["num_parameters"] < content["total"]

    folder = bench.store.path(bench.train({"trainable": choice}))
    before, after = (
        weights(make_model()),
        weights(AutoModelForCausalLM.from_pretrained(folder / "model")),
    )
    for name in before:
        assert torch.equal(before[name], after[name]) == (name not in content["names"]), name
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["trainable_parameters"] == content["num_parameters"]


class Chooses(Method):
    name = "chooses"

    def trainable(self, layers, history, probes, rng):
        return Trainable(names=("model.no_such",))


def test_a_choice_of_what_is_not_there_is_refused(bench):
    choice = Step("trainable", "t", 1, {"seed": 0})
    with pytest.raises(TrainingError, match=r"'model\.no_such' is not a parameter"):
        bench.run(choice, lambda work: trainable_step.run(work, base=bench.base, method=Chooses()))
    with pytest.raises(RecipeError, match="has 2 layers"):
        bench.run(
            choice,
            lambda work: trainable_step.run(work, base=bench.base, method=Freeze(num_layers=9)),
        )


@dataclass(frozen=True, kw_only=True)
class Keeps(Method):
    name = "keeps"

    def remember(self, model, examples, rng):
        noise = torch.rand(3)
        return Memory(
            phase="p1",
            tensors={"norm": model.model.norm.weight, "noise": noise},
            examples=examples[:2],
        )


def test_what_is_remembered_is_read_back_by_method_and_age(bench):
    train = bench.train()
    steps = {}
    for index, phase in enumerate(["second", "first"]):
        settings = {"phase": phase, "phase_index": 2 - index, "seed": 1}
        one = Step("remember", phase, 1, settings, {"model": train, "mix": bench.mix})
        bench.run(one, lambda work: remember_step.run(work, base=bench.base, method=Keeps()))
        steps[f"memory:keeps:{phase}"] = one
    reader = Step("train", "reader", 1, {}, steps)
    with bench.store.begin(reader) as work:
        memories = read_memories(work)
    assert list(memories) == ["keeps"]
    first, second = memories["keeps"]
    assert not torch.equal(first.tensors["noise"], second.tensors["noise"])
    assert len(first.examples) == 2
    assert first.examples[0].labels()[0] == -100
    model = AutoModelForCausalLM.from_pretrained(bench.store.path(train) / "model")
    assert torch.equal(first.tensors["norm"], model.model.norm.weight)


class Halfway(Method):
    """The mean of the last two checkpoints."""

    name = "halfway"

    def finish(self, history):
        last = list(history.checkpoints.values())[-1]
        for name, value in last.items():
            yield name, (value + history.base[name]) / 2


def test_a_phase_can_be_finished_by_a_method(bench):
    train = bench.train()
    one = Step("finish", "f", 1, REFERENCE | {"phase": "p1", "history": []}, {"model": train})
    folder = bench.run(one, lambda work: finish_step.run(work, base=bench.base, method=Halfway()))
    trained = weights(AutoModelForCausalLM.from_pretrained(bench.store.path(train) / "model"))
    base = weights(make_model())
    for name, value in AutoModelForCausalLM.from_pretrained(folder / "model").named_parameters():
        assert torch.equal(value, (trained[name] + base[name]) / 2)


class Wrong(Method):
    name = "wrong"

    def finish(self, history):
        yield "model.norm.weight", torch.zeros(3)


def test_a_finish_of_another_shape_is_refused(bench):
    one = Step("finish", "f", 1, REFERENCE | {"phase": "p1"}, {"model": bench.train()})
    with pytest.raises(TrainingError, match=r"of shape \(3,\); the model's is \(32,\)"):
        bench.run(one, lambda work: finish_step.run(work, base=bench.base, method=Wrong()))


def test_nothing_to_train_on_is_refused_before_the_first_step(tmp_path, tiny_model_folder):
    silent = Stream(((make_row("a", 9, trained=0), make_row("b", 5, trained=0)),))
    bench = Bench(tmp_path / "steps", tiny_model_folder, silent)
    with pytest.raises(TrainingError, match="2 sequences, 14 tokens, 0 trained tokens"):
        bench.train()


def test_a_model_without_weights_is_refused(tmp_path, tiny_model_folder):
    bench = Bench(tmp_path / "steps", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"no \*\.safetensors weights"):
        bench.train()


def test_a_stream_is_read_as_it_was_written(bench):
    read = read_stream(bench.store.path(bench.mix) / "stream.parquet")
    for got, meant in zip(read.steps, make_stream(3).steps, strict=True):
        for a, b in zip(got, meant, strict=True):
            assert (a.example_id, a.source, a.weight) == (b.example_id, b.source, b.weight)
            assert (a.input_ids == b.input_ids).all()
            assert (a.trained == b.trained).all()
