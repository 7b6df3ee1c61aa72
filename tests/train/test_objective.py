"""Loss and gradients against the loss that transformers itself computes."""

import pytest
import torch

from retain.methods.base import Method
from retain.train import objective as objectives
from retain.train.forward import make_forward
from retain.train.hooks import Hooks
from retain.train.objective import Objective, step_weight
from tests.train.families import FAMILIES, bloom, falcon, opt
from tests.train.phases import make_row

ROWS = [
    make_row("a", 9, trained=3),
    make_row("b", 41, trained=40),
    make_row("c", 17, trained=1),
    make_row("d", 23, trained=11),
]
ALL = FAMILIES | {"bloom": bloom, "falcon": falcon, "opt": lambda: opt(dropout=0.0)}


def by_transformers(model, rows):
    """Loss and gradients of one padded batch, through the model's own ``labels``."""
    model.zero_grad()
    longest = max(row.num_tokens for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        tokens = torch.from_numpy(row.input_ids)
        ids[i, : row.num_tokens] = tokens
        mask[i, : row.num_tokens] = 1
        labels[i, : row.num_tokens] = torch.where(torch.from_numpy(row.trained), tokens, -100)
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def by_us(model, rows, tokens, hooks=None, precision="fp32"):
    model.zero_grad()
    ours = Objective(make_forward(model, 64), hooks or Hooks(), precision)
    groups = ours.forward.groups(rows, tokens)
    parts = [ours.backward(group, step_weight(rows)) for group in groups]
    loss, penalty = torch.stack(parts).sum(0).tolist()
    return loss, penalty, {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("tokens", [1000, 50, 1], ids=["one_row", "accumulated", "one_by_one"])
@pytest.mark.parametrize("family", ALL)
def test_loss_and_gradients_are_those_of_transformers(family, tokens):
    model = ALL[family]()
    loss, expected = by_transformers(model, ROWS)
    ours, penalty, gradients = by_us(model, ROWS, tokens)

    assert ours == pytest.approx(loss, abs=1e-5)
    assert penalty == 0
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_chunks_of_the_head_change_nothing(monkeypatch):
    model = FAMILIES["llama"]()
    whole = by_us(model, ROWS, 1000)
    monkeypatch.setattr(objectives, "CHUNK_ELEMENTS", 400 * 7)
    parts = by_us(model, ROWS, 1000)
    assert parts[0] == pytest.approx(whole[0], abs=1e-6)
    for name, gradient in whole[2].items():
        torch.testing.assert_close(parts[2][name], gradient, atol=1e-6, rtol=1e-5)


def test_weights_make_a_weighted_mean():
    model = FAMILIES["llama"]()
    light, heavy = make_row("a", 9, weight=1.0), make_row("d", 23, weight=4.0)
    first, second = by_us(model, [light], 1000)[0], by_us(model, [heavy], 1000)[0]
    mean = (first * 8 * 1 + second * 22 * 4) / (8 * 1 + 22 * 4)
    assert by_us(model, [light, heavy], 1000)[0] == pytest.approx(mean, abs=1e-5)


def test_bf16_is_near_and_its_gradients_are_float32():
    model = FAMILIES["llama"]()
    exact = by_us(model, ROWS, 1000)
    rounded = by_us(model, ROWS, 1000, precision="bf16")
    assert rounded[0] != exact[0]
    assert rounded[0] == pytest.approx(exact[0], abs=0.05)
    assert {gradient.dtype for gradient in rounded[2].values()} == {torch.float32}


class Widest(Method):
    """A penalty on states and logits, to see what the hook is given."""

    name = "widest"

    def penalty(self, model, batch, hidden, head, memory):
        logits = head(hidden[batch.rows])
        again = model(**batch.inputs).logits[0, batch.rows]
        assert torch.allclose(logits, again, atol=1e-5)
        return (logits**2).mean() + (model.get_input_embeddings().weight ** 2).sum()


@pytest.mark.parametrize("tokens", [1000, 50])
def test_a_penalty_reads_as_one_number_and_reaches_all_weights(tokens):
    model = FAMILIES["gemma3"]()
    plain = by_us(model, ROWS, tokens)
    loss, penalty, gradients = by_us(model, ROWS, tokens, Hooks(methods=(Widest(),)))
    assert loss == pytest.approx(plain[0], abs=1e-6)
    lasting = (model.get_input_embeddings().weight ** 2).sum().item()
    assert lasting < penalty < lasting + 30
    for name in ("model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight"):
        assert not torch.equal(gradients[name], plain[2][name])
