"""Models with an encoder: loss, gradients, batches, resume, freezing, adapters, folders."""

from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from peft import AutoPeftModelForSeq2SeqLM, PeftModel
from transformers import AutoModelForSeq2SeqLM

from retain.errors import Interrupted, ModelError
from retain.methods.freeze import Freeze
from retain.model import cache
from retain.model.load import load_quantised
from retain.steps.step import Step
from retain.train import trainable_step
from retain.train.forward import make_forward
from retain.train.objective import step_weight
from retain.train.pairs import PairForward, make_pair_forward, seam
from retain.train.stream import Stream
from tests.train.families import WITH_ENCODER, make_t5_folder, t5
from tests.train.phases import SETTINGS, make_row, make_stream, make_work, same, train, weights
from tests.train.test_loop import Stop
from tests.train.test_objective import by_us
from tests.train.test_train_step import Bench

ROWS = [
    make_row("a", 12, trained=3),
    make_row("b", 41, trained=31),
    make_row("c", 17, trained=1),
    make_row("d", 23, trained=11),
    make_row("e", 5, trained=4),
]


@pytest.fixture(autouse=True)
def _no_model_is_kept():
    cache.clear()
    yield
    cache.clear()


def by_transformers(model, rows):
    """Loss and gradients of one padded batch, through the model's own ``labels``."""
    model.zero_grad()
    pad = torch.nn.utils.rnn.pad_sequence
    read = [torch.from_numpy(row.input_ids[: seam(row)]) for row in rows]
    labels = [torch.from_numpy(row.input_ids[seam(row) :]) for row in rows]
    loss = model(
        input_ids=pad(read, batch_first=True),
        attention_mask=pad([torch.ones_like(one) for one in read], batch_first=True),
        labels=pad(labels, batch_first=True, padding_value=-100),
    ).loss
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("tokens", [1000, 60, 1], ids=["one_batch", "accumulated", "one_by_one"])
@pytest.mark.parametrize("family", WITH_ENCODER)
def test_loss_and_gradients_are_those_of_transformers(family, tokens):
    """Also where uneven trained tokens are accumulated: the mean is of the whole step's tokens."""
    model = WITH_ENCODER[family]()
    loss, expected = by_transformers(model, ROWS)
    ours, penalty, gradients = by_us(model, ROWS, tokens)
    assert ours == pytest.approx(loss, abs=1e-5)
    assert penalty == 0
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_only_what_the_decoder_writes_is_a_target():
    forward = make_forward(t5())
    batch = forward.batch(ROWS[:2])
    assert batch.targets.tolist() == [*ROWS[0].input_ids[-3:], *ROWS[1].input_ids[-31:]]
    assert batch.inputs["input_ids"].shape == (2, 10)
    assert batch.inputs["attention_mask"].sum(1).tolist() == [9, 10]
    assert batch.inputs["decoder_input_ids"][:, 0].tolist() == [0, 0]
    assert batch.rows.tolist() == [0, 1, 2, *range(31, 62)]
    assert sum(row.num_trained_tokens for row in ROWS) == len(forward.batch(ROWS).targets)


def test_batches_hold_like_lengths_and_no_more_than_asked():
    forward = make_forward(t5())
    assert isinstance(forward, PairForward)
    rows = [make_row(f"r{n}", 4 + n % 37, trained=1 + n % 3) for n in range(60)]
    groups = forward.groups(rows, 100)
    assert sorted(row.example_id for group in groups for row in group) == sorted(
        row.example_id for row in rows
    )
    padded = 0
    for group in groups:
        shape = forward.batch(group).inputs
        size = shape["input_ids"].numel() + shape["decoder_input_ids"].numel()
        assert size <= 100 or len(group) == 1
        padded += size
    assert padded < 1.15 * sum(row.num_tokens for row in rows)


def test_a_model_whose_padding_is_seen_is_refused():
    model = t5()
    whole = type(model.encoder).forward

    class Sees(type(model.encoder)):
        def forward(self, attention_mask=None, **inputs):
            return whole(self, **inputs)

    model.encoder.__class__ = Sees
    with pytest.raises(ModelError, match="a padded batch gives other log-probabilities"):
        make_pair_forward(model)


def test_a_model_without_apart_stacks_is_refused():
    model = t5()
    model.get_decoder = lambda: model
    with pytest.raises(ModelError, match="T5ForConditionalGeneration: no decoder below its head"):
        make_pair_forward(model)


def test_training_lowers_the_loss(tmp_path):
    stream = Stream((make_stream().steps[0],) * 15)
    curve = train(t5(), stream, make_work(tmp_path))
    assert curve[-1].loss < 0.8 * curve[0].loss
    assert curve[0].trained_tokens == sum(row.num_trained_tokens for row in stream.steps[0])


def test_a_run_stopped_at_random_steps_ends_bit_equal(tmp_path):
    stream = make_stream(epochs=2)
    whole = t5(dropout_rate=0.1)
    train(whole, stream, make_work(tmp_path / "whole"))
    again, attempts = [], 0
    while not again:
        pieces = t5(dropout_rate=0.1)
        work = make_work(tmp_path / "pieces", stop=Stop(9))
        with suppress(Interrupted):
            again = train(pieces, stream, work)
        attempts += 1
    assert attempts > 2
    assert same(weights(whole), weights(pieces))


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "steps", make_t5_folder(tmp_path / "base"))


def logits(model):
    ids = torch.from_numpy(make_row("x", 20).input_ids)[None]
    with torch.no_grad():
        return model.eval()(input_ids=ids[:, :12], labels=ids[:, 12:]).logits


def test_the_folder_opens_in_plain_transformers(bench):
    folder = bench.store.path(bench.train()) / "model"
    opened = AutoModelForSeq2SeqLM.from_pretrained(folder)
    kept = cache.get(folder, precision="fp32").model
    assert torch.equal(logits(kept), logits(opened))
    assert not torch.allclose(logits(opened), logits(t5()), atol=1e-3)
    assert "AutoModelForSeq2SeqLM" in (folder / "README.md").read_text()


def test_a_head_of_its_own_is_trained_and_saved(tmp_path):
    """mT0's configuration says that its head is tied; its weights say otherwise."""
    model = t5()
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() + 0.01)
    folder = make_t5_folder(tmp_path / "base")
    model.config.tie_word_embeddings = True
    model.save_pretrained(folder)
    bench = Bench(tmp_path / "steps", folder)
    choice = Step("trainable", "t", 1, {"seed": 0, "phase": "p1"})
    freeze = Freeze(num_layers=1)
    bench.run(choice, lambda work: trainable_step.run(work, base=folder, method=freeze))
    trained = bench.store.path(bench.train({"trainable": choice})) / "model"
    opened = AutoModelForSeq2SeqLM.from_pretrained(trained)
    assert not torch.allclose(opened.lm_head.weight, opened.shared.weight)
    assert not torch.equal(opened.lm_head.weight, model.lm_head.weight)
    assert torch.equal(opened.shared.weight, model.shared.weight)


def test_blocks_are_frozen_from_the_encoder_on(bench):
    choice = Step("trainable", "t", 1, {"seed": 0, "phase": "p1"})
    freeze = Freeze(select="first", num_layers=4)
    bench.run(choice, lambda work: trainable_step.run(work, base=bench.base, method=freeze))
    folder = bench.store.path(bench.train({"trainable": choice})) / "model"
    after = weights(AutoModelForSeq2SeqLM.from_pretrained(folder))
    moved = {name for name, before in weights(t5()).items() if not torch.equal(before, after[name])}
    assert moved
    assert not [name for name in moved if name.startswith(("encoder.block", "decoder.block.0."))]
    assert [name for name in moved if name.startswith("decoder.block.1.")]
    assert "shared.weight" not in moved


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_an_adapter_opens_in_plain_peft(bench, kind):
    values = {} if kind == "ia3" else {"lora_r": 4, "lora_alpha": 8.0}
    folder = bench.store.path(bench.train(tuning=kind, **values)) / "model"
    opened = AutoPeftModelForSeq2SeqLM.from_pretrained(folder)
    assert torch.equal(logits(cache.get(folder, precision="fp32").model), logits(opened))
    assert not torch.allclose(logits(opened), logits(t5()), atol=1e-4)
    assert same(weights(opened.unload()), weights(t5()))


def test_qlora_trains_an_adapter_on_4_bits(bench):
    folder = bench.store.path(bench.train(tuning="qlora", lora_r=4, lora_alpha=8.0)) / "model"
    kept = cache.get(folder, precision="fp32")
    assert kept.quantisation == "nf4"
    base = load_quantised(bench.base, kept.device, "fp32")
    before = logits(base)
    found = logits(PeftModel.from_pretrained(base, folder))
    assert torch.allclose(found, logits(kept.model), atol=1e-5)
    assert not torch.allclose(found, before, atol=1e-4)


def test_computing_activations_twice_changes_nothing(tmp_path):
    plain, twice = t5(), t5()
    train(plain, make_stream(2), make_work(tmp_path / "a"))
    settings = replace(SETTINGS, gradient_checkpointing=True)
    train(twice, make_stream(2), make_work(tmp_path / "b"), settings=settings)
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(twice)[name], value, atol=1e-6, rtol=0)


def test_a_merged_adapter_is_in_the_weights(bench):
    first = bench.train(tuning="lora", lora_r=4, lora_alpha=8.0)
    second = bench.train({"model": first}, handover="merge_then_new", learning_rate=1e-12)
    merged = AutoModelForSeq2SeqLM.from_pretrained(bench.store.path(second) / "model")
    adapted = AutoPeftModelForSeq2SeqLM.from_pretrained(bench.store.path(first) / "model")
    assert torch.allclose(logits(merged), logits(adapted), atol=1e-5)


def test_weights_of_sequences_count():
    model = t5()
    light, heavy = make_row("a", 9, trained=2, weight=1.0), make_row("d", 23, trained=7, weight=4.0)
    first, second = by_us(model, [light], 1000)[0], by_us(model, [heavy], 1000)[0]
    mean = (first * 2 + second * 28) / step_weight([light, heavy])
    assert by_us(model, [light, heavy], 1000)[0] == pytest.approx(mean, abs=1e-5)
