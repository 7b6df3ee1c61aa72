"""AdamW of 8 bits: near AdamW, small, and its state comes back to the bit."""

import random
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from retain.errors import Interrupted, TrainingError
from retain.train.optimizer import load_state, make_optimizer, state_tensors
from retain.train.settings import read_settings
from tests.conftest import make_model
from tests.train.phases import SETTINGS, make_stream, make_work, same, train, weights
from tests.train.test_loop import Stop

EIGHT = replace(SETTINGS, optimizer="adamw_8bit", weight_decay=0.1)
WIDE = {"hidden_size": 64, "intermediate_size": 128}  # matrices of 4,096 numbers and more


def test_it_learns_nearly_what_adamw_learns_with_a_quarter_of_the_state(tmp_path):
    exact, rough = make_model(**WIDE), make_model(**WIDE)
    curve = train(exact, make_stream(12), make_work(tmp_path / "a"))
    found = train(rough, make_stream(12), make_work(tmp_path / "b"),
                  settings=replace(EIGHT, weight_decay=0.0))  # fmt: skip
    assert found[-1].loss == pytest.approx(curve[-1].loss, abs=0.1)
    assert not same(weights(exact), weights(rough))


def test_its_state_has_8_bits_and_no_table_that_all_share():
    model = make_model(**WIDE)
    parameters = dict(model.named_parameters())
    optimizer = make_optimizer(parameters, EIGHT)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = state_tensors(optimizer, parameters)
    assert not [key for key in state if key.startswith("qmap")]
    name = "model.layers.0.mlp.up_proj.weight"
    assert state[f"state1/{name}"].dtype == torch.uint8
    assert state["state1/model.norm.weight"].dtype == torch.float32
    moments = sum(v.nbytes for k, v in state.items() if k.endswith(name) and "step" not in k)
    assert moments < 0.26 * 2 * parameters[name].nbytes

    again = make_optimizer(parameters, EIGHT)
    load_state(again, parameters, state)
    for one in (optimizer, again):
        assert one.state[parameters[name]]["step"] == 1
    assert torch.equal(
        again.state[parameters[name]]["qmap2"], optimizer.state[parameters[name]]["qmap2"]
    )


def test_a_run_stopped_at_random_steps_ends_bit_equal(tmp_path):
    stream = make_stream(epochs=2)
    whole = make_model(**WIDE)
    train(whole, stream, make_work(tmp_path / "whole"), settings=EIGHT)
    draw, again, attempts = random.Random(0), [], 0
    while not again:
        pieces = make_model(**WIDE)
        work = make_work(tmp_path / "pieces", stop=Stop(draw.randint(4, 12)))
        with suppress(Interrupted):
            again = train(pieces, stream, work, settings=EIGHT)
        attempts += 1
    assert attempts > 2
    assert same(weights(whole), weights(pieces))


def test_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr("retain.train.optimizer.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"pip install 'retain\[qlora\]'"):
        make_optimizer(dict(make_model().named_parameters()), EIGHT)


def test_a_device_without_it_is_named():
    with torch.device("meta"):
        parameters = {"w": torch.nn.Parameter(torch.empty(2, 2))}
    with pytest.raises(TrainingError, match="no block-wise AdamW for meta"):
        make_optimizer(parameters, EIGHT)


def test_another_optimizer_is_refused():
    with pytest.raises(TrainingError, match=r"unknown optimizer 'adam'.*adamw"):
        read_settings({"learning_rate": 1e-3, "optimizer": "adam"})
