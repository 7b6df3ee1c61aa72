"""Hooks in the loop: each composes with the next, and is given what the table of hooks says."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from retain.methods.base import Method
from retain.methods.given import Memory, Tokenised
from retain.train.hooks import Hooks
from retain.train.layers import layers
from retain.train.optimizer import make_optimizer
from retain.train.randomness import derived_seed, global_stream, stream
from tests.conftest import make_model
from tests.train.phases import SETTINGS, make_row, make_stream, make_work, same, train, weights


@dataclass(frozen=True, kw_only=True)
class Scale(Method):
    name = "scale"
    by: float = 0.0

    def project(self, gradients, past_gradients):
        return {name: gradient * self.by for name, gradient in gradients.items()}


class SeesPast(Method):
    name = "sees_past"
    seen: ClassVar[list] = []

    def project(self, gradients, past_gradients):
        self.seen.append((dict(gradients), [dict(past) for past in past_gradients]))


class PutsBack(Method):
    name = "puts_back"

    def after_step(self, parameters, memory, step):
        return {"model.norm.weight": torch.full((32,), float(step))}


class Initialises(Method):
    name = "initialises"

    def prepare(self, model, rng):
        with torch.no_grad():
            model.model.norm.weight.fill_(rng.random())


def remembered(*names):
    rows = [make_row(name, 12, trained=5) for name in names]
    return Memory(
        phase="before",
        examples=tuple(
            Tokenised(
                id=r.example_id,
                input_ids=tuple(r.input_ids.tolist()),
                trained=tuple(r.trained.tolist()),
            )
            for r in rows
        ),
    )


def test_projections_follow_one_another(tmp_path):
    both = Hooks(methods=(Scale(by=2.0), Scale(by=0.5)))
    one, two = make_model(), make_model()
    train(one, make_stream(2), make_work(tmp_path / "1"), hooks=both)
    train(two, make_stream(2), make_work(tmp_path / "2"))
    assert same(weights(one), weights(two))

    nothing = make_model()
    train(nothing, make_stream(2), make_work(tmp_path / "3"), hooks=Hooks(methods=(Scale(by=0.0),)))
    assert same(weights(nothing), weights(make_model()))


def test_past_gradients_are_those_of_the_remembered_examples_now(tmp_path):
    method = SeesPast()
    method.seen.clear()
    kept = {"sees_past": (remembered("x", "y"), Memory(phase="empty"))}
    hooks = Hooks(methods=(method,), memories=kept)
    with_memory, without = make_model(), make_model()
    train(with_memory, make_stream(1), make_work(tmp_path / "1"), hooks=hooks)
    train(without, make_stream(1), make_work(tmp_path / "2"))
    assert same(weights(with_memory), weights(without))

    [(gradients, past)] = method.seen
    assert len(past) == 1  # the memory without examples is left out
    model = make_model()
    rows = [make_row("x", 12, trained=5), make_row("y", 12, trained=5)]
    ids = torch.stack([torch.from_numpy(row.input_ids) for row in rows])
    labels = torch.where(torch.from_numpy(rows[0].trained), ids, -100)
    model(input_ids=ids, labels=labels).loss.backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(past[0][name], p.grad, atol=1e-5, rtol=1e-4)
        assert not torch.equal(past[0][name], gradients[name])


def test_parameters_are_put_back_after_each_step(tmp_path, tiny_model):
    train(tiny_model, make_stream(3), make_work(tmp_path), hooks=Hooks(methods=(PutsBack(),)))
    assert tiny_model.model.norm.weight.tolist() == [3.0] * 32


def test_a_method_draws_the_same_in_the_same_phase_and_anew_in_another(tiny_model):
    drawn = []
    for phase in ("a", "a", "b"):
        Hooks(methods=(Initialises(),), seed=1, phase=phase).prepare(tiny_model)
        drawn.append(tiny_model.model.norm.weight[0].item())
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_method_that_does_not_act_changes_nothing(tmp_path):
    one, two = make_model(), make_model()
    train(one, make_stream(2), make_work(tmp_path / "1"), hooks=Hooks(methods=(Method(),)))
    train(two, make_stream(2), make_work(tmp_path / "2"))
    assert same(weights(one), weights(two))


def test_streams_of_randomness_are_named_and_leave_no_trace():
    cpu = torch.device("cpu")
    before = torch.random.get_rng_state()
    with global_stream(cpu, 0, "a", 1):
        first = torch.rand(3)
    with global_stream(cpu, 0, "a", 1):
        assert torch.equal(torch.rand(3), first)
    with global_stream(cpu, 0, "a", 2):
        assert not torch.equal(torch.rand(3), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert stream(0, "x").random() == stream(0, "x").random() != stream(1, "x").random()
    assert 0 <= derived_seed(-5, "x") < 2**63


@pytest.mark.parametrize("tied", [True, False])
def test_layers_are_laid_out_from_input_to_output(tied):
    model = make_model(tie_word_embeddings=tied)
    found = layers(model)
    assert set(found.names) == {name for name, _ in model.named_parameters()}
    assert found.names[0] == "model.embed_tokens.weight"
    assert found.head == (() if tied else ("lm_head.weight",))
    assert found.tied == tied
    assert [block.index for block in found.blocks] == [0, 1]
    assert len(found.blocks[0].attention) == 4
    assert found.sizes["model.norm.weight"] == 32


def test_weight_decay_spares_vectors(tmp_path):
    settings = replace(SETTINGS, weight_decay=0.1)
    groups = make_optimizer(dict(make_model().named_parameters()), settings).param_groups
    assert [(group["weight_decay"], {p.dim() for p in group["params"]}) for group in groups] == [
        (0.1, {2}),
        (0.0, {1}),
    ]


def test_past_gradients_drop_the_same_in_every_run_and_leave_no_trace(tmp_path):
    method, seen = SeesPast(), []
    kept = {"sees_past": (remembered("x", "y"),)}
    for seed in (1, 2):
        method.seen.clear()
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        model = make_model(attention_dropout=0.3)
        hooks = Hooks(methods=(method,), memories=kept)
        train(model, make_stream(1), make_work(tmp_path / str(seed)), hooks=hooks)
        assert torch.equal(torch.random.get_rng_state(), before)
        [(_, [past])] = method.seen
        seen.append(past)
    assert same(*seen)
