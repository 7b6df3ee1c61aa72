import json
import random
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from retain.errors import Interrupted, TrainingError
from retain.steps import durable
from retain.train import objective
from retain.train.forward import Forward
from retain.train.stream import Stream
from tests.conftest import make_model
from tests.train.phases import SETTINGS, make_row, make_stream, make_work, same, train, weights


def test_training_lowers_the_loss_and_draws_a_whole_curve(tmp_path, tiny_model):
    stream = Stream((make_stream().steps[0],) * 20)
    work = make_work(tmp_path)
    curve = train(tiny_model, stream, work)

    assert [point.step for point in curve] == list(range(1, 21))
    assert curve[-1].loss < 0.7 * curve[0].loss
    assert curve[0].tokens == 65
    assert curve[0].learning_rate == pytest.approx(0.005)
    assert [event["kind"] for event in work.events] == ["training", "training"]
    assert work.events[-1]["tokens_per_second"] > 0


def test_micro_batches_change_nothing_but_the_last_bits(tmp_path):
    results = []
    for tokens in (1, 40, 1000):
        model = make_model()
        train(model, make_stream(), make_work(tmp_path / str(tokens)), tokens=tokens)
        results.append(weights(model))
    for other in results[1:]:
        for name, value in results[0].items():
            torch.testing.assert_close(other[name], value, atol=2e-5, rtol=0)


def test_the_same_run_twice_is_bit_equal(tmp_path):
    first, second = make_model(), make_model()
    train(first, make_stream(), make_work(tmp_path / "a"))
    train(second, make_stream(), make_work(tmp_path / "b"))
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(make_model()))


class Stop:
    """Asks to stop from the n-th time it is asked."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


CASES = {
    "plain": {},
    "frozen": {"names": ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"]},
    "bf16": {"settings": "bf16"},
    "checkpointing": {"settings": "checkpointing"},
    "dropout": {"changes": {"attention_dropout": 0.3}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_stopped_at_random_steps_ends_bit_equal(tmp_path, case):
    options = dict(CASES[case])
    changes = options.pop("changes", {})
    kind = options.pop("settings", "")
    settings = replace(
        SETTINGS,
        weight_decay=0.1,
        precision="bf16" if kind == "bf16" else "fp32",
        gradient_checkpointing=kind == "checkpointing",
    )
    stream = make_stream(epochs=3)
    whole = make_model(**changes)
    curve = train(whole, stream, make_work(tmp_path / "whole"), settings=settings, **options)

    draw, again, attempts = random.Random(case), [], 0
    while not again:
        pieces = make_model(**changes)
        work = make_work(tmp_path / "pieces", stop=Stop(draw.randint(4, 12)))
        with suppress(Interrupted):
            again = train(pieces, stream, work, settings=settings, **options)
        attempts += 1
    assert attempts > 2
    assert same(weights(whole), weights(pieces))
    assert not same(weights(whole), weights(make_model(**changes)))
    times = {"seconds": 0.0}
    assert [replace(p, **times) for p in again] == [replace(p, **times) for p in curve]


def test_dropout_leaves_the_global_generator_alone(tmp_path):
    before = torch.random.get_rng_state()
    train(make_model(attention_dropout=0.3), make_stream(2), make_work(tmp_path))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_frozen_parameters_stay_and_have_no_state(tmp_path, tiny_model):
    moving = [n for n, _ in tiny_model.named_parameters() if n.startswith("model.layers.1.")]
    before = weights(tiny_model)
    train(tiny_model, make_stream(), make_work(tmp_path), names=moving)
    after = weights(tiny_model)
    for name in before:
        assert torch.equal(before[name], after[name]) == (name not in moving), name
    assert tiny_model.lm_head.weight.grad is None


@pytest.mark.parametrize(
    ("names", "message"),
    [(["model.nothing"], "match no parameter, such as 'model.nothing'"), ([], "nothing is left")],
)
def test_a_trainable_set_that_cannot_be_is_refused(tmp_path, tiny_model, names, message):
    with pytest.raises(TrainingError, match=message):
        train(tiny_model, make_stream(), make_work(tmp_path), names=names)


def test_a_loss_that_is_not_a_number_stops_before_the_step_and_names_the_examples(
    tmp_path, tiny_model, monkeypatch
):
    whole = objective.cross_entropy
    calls = []

    def poisoned(*args, **kwargs):
        calls.append(1)
        loss = whole(*args, **kwargs)
        return loss * float("nan") if len(calls) == 6 else loss

    work = make_work(tmp_path)
    settings = replace(SETTINGS, save_steps=1)
    monkeypatch.setattr(objective, "cross_entropy", poisoned)
    with pytest.raises(
        TrainingError, match=r"loss is not finite in optimizer step 3 \(examples e2"
    ):
        train(tiny_model, make_stream(), work, settings=settings)
    stopped = weights(tiny_model)

    saved = {path.name for path in (work.partial / "snapshots").iterdir()}
    assert saved == {"step-00000001", "step-00000002"}
    two_steps = make_model()
    work = make_work(tmp_path / "again", stop=Stop(6))
    with pytest.raises(Interrupted):
        train(two_steps, make_stream(), work)
    assert same(stopped, weights(two_steps))


def test_an_infinite_gradient_stops_too(tmp_path, tiny_model):
    tiny_model.model.norm.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weights(tiny_model)
    with pytest.raises(TrainingError, match="gradient norm"):
        train(tiny_model, make_stream(), make_work(tmp_path))
    assert same(before, weights(tiny_model))


def test_too_little_memory_becomes_a_message(tmp_path, tiny_model, monkeypatch):
    def full(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(objective, "cross_entropy", full)
    with pytest.raises(TrainingError, match="out of memory on 30 tokens at once"):
        train(tiny_model, make_stream(), make_work(tmp_path))  # one sequence alone does not fit


def test_where_memory_runs_out_the_micro_batch_halves_and_the_step_stays(tmp_path, monkeypatch):
    """Same examples, same trained tokens, same loss; a resume goes on with the smaller one."""
    whole, halved = make_model(), make_model()
    stream = make_stream()
    expected = train(whole, stream, make_work(tmp_path / "whole"), tokens=128)
    forward = Forward.hidden

    def limited(self, batch):
        if batch.inputs["input_ids"].shape[1] > 45:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    monkeypatch.setattr(Forward, "hidden", limited)
    work = make_work(tmp_path / "halved")
    found = train(halved, stream, work, tokens=128)
    events = [e for e in work.events if e["kind"] == "out of memory"]
    assert [e["micro_batch_tokens"] for e in events] == [64, 32]
    assert json.loads((work.partial / "plan.json").read_text())["micro_batch_tokens"] == 32
    for one, other in zip(found, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        assert one.trained_tokens == other.trained_tokens
    for name, value in weights(whole).items():
        assert torch.allclose(halved.get_parameter(name), value, atol=1e-4)


def test_a_sequence_without_trained_tokens_costs_nothing(tmp_path):
    rows = (make_row("a", 9), make_row("b", 9))
    extra = (*rows, make_row("c", 30, trained=0))
    one, two = make_model(), make_model()
    train(one, Stream((rows,)), make_work(tmp_path / "1"))
    train(two, Stream((extra,)), make_work(tmp_path / "2"))
    assert same(weights(one), weights(two))


class Killed(BaseException):
    """Stands for a kill."""


def test_a_run_killed_inside_its_saves_ends_bit_equal(tmp_path, monkeypatch):
    settings, stream = replace(SETTINGS, save_steps=1), make_stream()
    whole = make_model()
    train(whole, stream, make_work(tmp_path / "whole"), settings=settings)
    draw, again, kills = random.Random(0), [], 0
    monkeypatch.setattr(durable, "remove_tree", lambda path: None)  # a dead process tidies nothing
    while not again:
        left = iter(range(draw.randint(3, 30)))

        def on_event(kind, path, left=left):
            if next(left, None) is None:
                raise Killed

        monkeypatch.setattr(durable, "on_file_event", on_event)
        pieces = make_model()
        try:
            again = train(pieces, stream, make_work(tmp_path / "pieces"), settings=settings)
        except Killed:
            kills += 1
    assert kills > 2
    assert same(weights(whole), weights(pieces))


def test_one_sequence_that_does_not_fit_beside_one_without_loss_ends_it(tmp_path, monkeypatch):
    """It once halved for ever: what has no loss is in no micro-batch."""

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(objective, "cross_entropy", full)
    rows = (make_row("a", 30), make_row("b", 9, trained=0))
    with pytest.raises(TrainingError, match="gradient_checkpointing: true, lower max_length"):
        train(make_model(), Stream((rows,)), make_work(tmp_path), tokens=128)


def test_weights_that_take_no_part_in_the_loss_are_not_trained_in_vain(tmp_path):
    model = make_model()
    model.unused = torch.nn.Linear(2, 2)
    with pytest.raises(TrainingError, match=r"none of the 1 tensors .*'unused.weight'"):
        train(model, make_stream(2), make_work(tmp_path), names=["unused.weight"])


def test_a_state_that_does_not_fit_is_told_with_its_size(tmp_path, monkeypatch):
    def full(self, closure=None):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(TrainingError, match=r"two means of 31392 weights take 0.0 GB. Set optim"):
        train(make_model(), make_stream(2), make_work(tmp_path))
