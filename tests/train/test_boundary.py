"""What frozen blocks make of sequences, kept and read: the same model comes out."""

import json

import numpy as np
import pytest
import torch

from retain.errors import Interrupted, TrainingError
from retain.evaluate.below import lowest_depth
from retain.methods.freeze import Freeze
from retain.model import cache
from retain.model.boundary import Boundary, depth_below, why_not
from retain.model.layers import places
from retain.model.states_file import KeptStates, StatesWriter, token_key
from retain.steps.step import Step
from retain.train import boundary_step, trainable_step
from retain.train.forward import make_forward
from tests.conftest import make_model
from tests.train.families import FAMILIES, bloom, opt
from tests.train.phases import make_row, make_stream, same, weights
from tests.train.test_train_step import Bench

FROZEN = {"num_layers": 1}


@pytest.fixture(autouse=True)
def _no_model_is_kept():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def bench(tmp_path, tiny_model_folder):
    return Bench(tmp_path / "steps", tiny_model_folder, make_stream(3, epochs=3))


def choose(bench, **settings):
    method = Freeze(**settings)
    values = {"methods": [method.spec()], "seed": 0, "phase": "p1", "history": []}
    one = Step("trainable", "p1", 1, values)
    bench.run(one, lambda work: trainable_step.run(work, base=bench.base, method=method))
    return one


def keep(bench, choice, stored="fp32", stop=lambda: False):
    values = {"precision": "fp32", "stored": stored}
    one = Step("boundary", "p1", 1, values, {"mix": bench.mix, "trainable": choice})
    bench.run(one, lambda work: boundary_step.run(work, base=bench.base), stop)
    return one


def saved(bench, step):
    from safetensors.torch import load_file

    return load_file(bench.store.path(step) / "model" / "model.safetensors")


def test_training_from_kept_states_gives_the_model_that_computes_them(bench):
    choice = choose(bench, **FROZEN)
    boundary = keep(bench, choice)
    facts = json.loads((bench.store.path(boundary) / "boundary.json").read_text())
    plain = bench.train({"trainable": choice})
    kept = bench.train({"trainable": choice, "boundary": boundary})

    assert facts["depth"] == 1
    assert facts["tokens"] == 3 * 65
    before, now = saved(bench, plain), saved(bench, kept)
    base = weights(make_model())
    assert max(float((before[n] - now[n]).abs().max()) for n in before) < 1e-5
    assert any(float((base[n] - now[n]).abs().max()) > 1e-3 for n in now)


def test_the_frozen_blocks_are_not_computed_any_more(bench, monkeypatch):
    choice = choose(bench, **FROZEN)
    boundary = keep(bench, choice)
    cache.clear()
    loaded = cache.get(bench.base, precision="fp32")
    calls = []
    hook = loaded.model.model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    bench.train({"trainable": choice, "boundary": boundary})
    hook.remove()
    # the checks of the forward pass on random rows and on the first kept row, and no training
    assert 0 < len(calls) < 9


def test_states_of_another_model_are_refused(bench, tmp_path, tokenizer):
    choice = choose(bench, **FROZEN)
    boundary = keep(bench, choice)
    other = tmp_path / "other"
    make_model(seed=5).save_pretrained(other)
    tokenizer.save_pretrained(other)
    bench.base = other
    cache.clear()
    with pytest.raises(TrainingError, match="not this model's"):
        bench.train({"trainable": choice, "boundary": boundary})


def test_a_stopped_boundary_step_goes_on_and_gives_the_same_bytes(tmp_path, tiny_model_folder):
    stream = make_stream(120, epochs=2)  # several batches of 2,048 tokens
    whole = Bench(tmp_path / "a", tiny_model_folder, stream)
    cut = Bench(tmp_path / "b", tiny_model_folder, stream)
    cut.mix = Step("mix", "mix", 1, {"of": "a"})
    cut.run(cut.mix, lambda work: _copy(whole, work))
    first = keep(whole, choose(whole, **FROZEN))
    choice = choose(cut, **FROZEN)
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        keep(cut, choice, stop=lambda: next(asked, True))
    again = keep(cut, choice)
    assert first.fingerprint == again.fingerprint
    for name in ("states.bin", "index.jsonl", "boundary.json"):
        one, two = whole.store.path(first) / name, cut.store.path(again) / name
        assert one.read_bytes() == two.read_bytes()


def _copy(bench, work):
    content = (bench.store.path(bench.mix) / "stream.parquet").read_bytes()
    (work.output / "stream.parquet").write_bytes(content)


@pytest.mark.parametrize(
    ("settings", "epochs", "reason"),
    [
        ({"num_layers": 1, "embeddings": False}, 2, "the embeddings or the lowest block move"),
        ({"num_layers": 1, "select": "last"}, 2, "the embeddings or the lowest block move"),
        (FROZEN, 1, "every sequence is read once"),
    ],
)
def test_where_nothing_is_saved_nothing_is_kept_and_it_is_said(
    tmp_path, tiny_model_folder, settings, epochs, reason
):
    bench = Bench(tmp_path / "steps", tiny_model_folder, make_stream(3, epochs=epochs))
    choice = choose(bench, **settings)
    boundary = keep(bench, choice)
    folder = bench.store.path(boundary)
    assert json.loads((folder / "boundary.json").read_text()) == {"depth": 0, "reason": reason}
    assert not (folder / "states.bin").exists()
    kept = bench.train({"trainable": choice, "boundary": boundary})
    plain = bench.train({"trainable": choice})
    assert same(saved(bench, kept), saved(bench, plain))


@pytest.mark.parametrize("family", FAMILIES)
def test_given_states_stand_for_the_blocks_in_every_family(family):
    model = FAMILIES[family]()
    model.eval()
    forward = make_forward(model)
    rows = [make_row("a", 13), make_row("b", 7)]
    boundary = Boundary(model, 1)
    with torch.no_grad():
        below = forward.states_below(boundary, rows)
        batch = forward.batch(rows[:1] if not forward.packed else rows)
        rows = rows if forward.packed else rows[:1]
        below = forward.states_below(boundary, rows)
        with forward.attention(rows):
            expected = forward.hidden(batch)
            with boundary.given(below):
                got = forward.hidden(batch)
            again = forward.hidden(batch)
    assert torch.equal(expected, again)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


def test_depth_is_what_lies_below_the_first_thing_that_moves():
    found = places(make_model())
    blocks = [[name for name, p in found.items() if p.block == i] for i in range(2)]
    assert depth_below(found, blocks[1]) == 1
    assert depth_below(found, blocks[0]) == 0
    assert depth_below(found, ["model.norm.weight"]) == 2
    assert depth_below(found, ["model.embed_tokens.weight"]) == 0
    assert depth_below(found, ["unknown"]) == 0


def test_models_that_change_from_call_to_call_keep_nothing():
    assert why_not(make_model()) == ""
    assert why_not(make_model(attention_dropout=0.1)) == "it has dropout"


def test_blocks_that_answer_with_more_than_states_keep_nothing(tmp_path, tokenizer):
    """And the phase is trained all the same."""
    assert why_not(bloom()) == "its blocks answer with more than their states"
    base = tmp_path / "bloom"
    bloom().save_pretrained(base)
    tokenizer.save_pretrained(base)
    bench = Bench(tmp_path / "steps", base, make_stream(2, epochs=2))
    choice = choose(bench, **FROZEN)
    boundary = keep(bench, choice)
    assert json.loads((bench.store.path(boundary) / "boundary.json").read_text())["depth"] == 0
    bench.train({"trainable": choice, "boundary": boundary})
    trainable = bench.store.path(choice) / "trainable.json"
    assert lowest_depth(bloom(), [trainable]) == 0


@pytest.mark.parametrize(("rate", "depth"), [(0.1, 0), (0.0, 1)])
def test_dropout_that_is_no_module_is_noticed(tmp_path, tokenizer, rate, depth):
    base = tmp_path / "opt"
    opt(dropout=rate).save_pretrained(base)
    tokenizer.save_pretrained(base)
    bench = Bench(tmp_path / "steps", base, make_stream(2, epochs=2))
    boundary = keep(bench, choose(bench, **FROZEN))
    facts = json.loads((bench.store.path(boundary) / "boundary.json").read_text())
    assert (facts["depth"], facts["reason"]) == (depth, "" if depth else "it has dropout")


def test_a_torn_file_of_states_is_cut_back_to_what_is_whole(tmp_path):
    draw = torch.Generator().manual_seed(0)
    states = [torch.randn(n, 4, generator=draw) for n in (3, 5, 2)]
    writer = StatesWriter(tmp_path, 4, "fp32")
    for name, part in zip("abc", states, strict=True):
        writer.put([(name, part)])
    whole = [(tmp_path / n).read_bytes() for n in ("states.bin", "index.jsonl")]
    for size in range(len(whole[0]) + 1):
        (tmp_path / "states.bin").write_bytes(whole[0][:size])
        (tmp_path / "index.jsonl").write_bytes(whole[1])
        again = StatesWriter(tmp_path, 4, "fp32")
        again.put(list(zip("abc", states, strict=True)))
        assert (tmp_path / "states.bin").read_bytes() == whole[0]
    kept = KeptStates(tmp_path)
    assert torch.equal(kept.get("b"), states[1])
    assert "d" not in kept


def test_bf16_states_come_back_as_they_were_rounded(tmp_path):
    states = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    StatesWriter(tmp_path, 4, "bf16").put([("a", states)])
    assert torch.equal(KeptStates(tmp_path).get("a"), states.bfloat16())


def test_the_key_of_a_sequence_is_its_tokens():
    assert token_key([1, 2, 3]) == token_key(np.array([1, 2, 3]))
    assert token_key([1, 2, 3]) != token_key([1, 2, 4])
