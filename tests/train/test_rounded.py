"""What a phase loses or wins by weights that are rounded otherwise is in its facts."""

import json

import pytest
import torch
from torch.nn.functional import cross_entropy

from retain.model import cache
from retain.model.load import load
from tests.train.phases import make_stream
from tests.train.test_train_step import Bench

QLORA = {"tuning": "qlora", "lora_r": 4, "lora_alpha": 8.0}


@pytest.fixture
def bench(tmp_path, tiny_model_folder):
    cache.clear()
    yield Bench(tmp_path / "steps", tiny_model_folder)
    cache.clear()


def facts(bench, step):
    return json.loads((bench.store.path(step) / "facts.json").read_text())


def first_point(bench, step):
    return json.loads((bench.store.path(step) / "curve.jsonl").read_text().splitlines()[0])


@torch.no_grad()
def plain_loss(model):
    """The mean loss over the bench's first optimizer step, by transformers alone."""
    total = weight = 0.0
    for row in make_stream(3).steps[0]:
        logits = model(input_ids=torch.from_numpy(row.input_ids)[None]).logits[0, :-1].float()
        nll = cross_entropy(logits, torch.from_numpy(row.input_ids)[1:], reduction="none")
        total += float(nll[torch.from_numpy(row.trained)[1:]].sum()) * row.weight
        weight += row.num_trained_tokens * row.weight
    return total / weight


@pytest.mark.parametrize("after", [QLORA, {}], ids=["rounded anew", "no longer rounded"])
def test_a_merge_beside_4_bits_says_what_it_changed(bench, after):
    first = bench.train(**QLORA)
    left = plain_loss(load(str(bench.store.path(first) / "model"), precision="fp32").model)
    second = bench.train({"model": first}, **after, handover="merge_then_new")

    found = facts(bench, second)["rounded"]
    assert found["trained_tokens"] == first_point(bench, second)["trained_tokens"]
    assert found["loss_left"] == pytest.approx(left, abs=1e-5)
    assert found["loss_started"] == pytest.approx(first_point(bench, second)["loss"], abs=1e-5)
    assert found["loss_started"] != found["loss_left"]
    assert "rounded" not in facts(bench, first)


def test_an_adapter_that_goes_on_has_nothing_rounded_anew(bench):
    first = bench.train(**QLORA)
    assert "rounded" not in facts(bench, bench.train({"model": first}, **QLORA))


def test_4_bits_after_a_phase_of_full_precision_are_said_too(bench):
    first = bench.train()
    second = bench.train({"model": first}, **QLORA)
    found = facts(bench, second)["rounded"]
    assert found["loss_started"] == pytest.approx(first_point(bench, second)["loss"], abs=1e-5)
    assert "rounded" not in facts(bench, bench.train({"model": first}))
