import pytest
import torch

from retain.errors import ModelError
from retain.model import attention
from retain.train.forward import make_batch, make_forward
from tests.evaluate.evaluation_models import ROWWISE
from tests.train.families import FAMILIES, bloom
from tests.train.phases import make_row


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_sequences_give_what_each_gives_alone(family):
    model = FAMILIES[family]()
    rows = [make_row("a", 30), make_row("b", 3), make_row("c", 47)]
    forward = make_forward(model, 64)
    assert forward.packed
    with torch.no_grad():
        with forward.attention(rows):
            packed = forward.head(forward.hidden(forward.batch(rows)))
        start = 0
        for row in rows:
            alone = model(input_ids=torch.from_numpy(row.input_ids)[None]).logits[0]
            part = packed[start : start + row.num_tokens]
            torch.testing.assert_close(part, alone, atol=1e-5, rtol=1e-5)
            start += row.num_tokens


def test_a_model_that_places_tokens_by_mask_is_computed_one_by_one():
    forward = make_forward(bloom())
    assert not forward.packed
    rows = [make_row("a", 4), make_row("b", 3)]
    assert forward.groups(rows, 4096) == [[rows[0]], [rows[1]]]


@pytest.mark.parametrize("name", ROWWISE)
def test_positions_that_depend_on_the_row_are_computed_one_by_one(name):
    """Only where a sequence is long enough; and whatever was computed before it."""
    model = ROWWISE[name]()
    assert make_forward(model, 50).packed
    forward = make_forward(model, 90)
    assert not forward.packed
    for row in (make_row("a", 90), make_row("b", 70), make_row("c", 64), make_row("d", 3)):
        expected = ROWWISE[name]()(input_ids=torch.from_numpy(row.input_ids)[None]).logits[0]
        found = forward.head(forward.hidden(forward.batch([row])))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_check_notices_attention_across_sequences(monkeypatch):
    def everything(module, query, key, value, mask, **kwargs):
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        ).transpose(1, 2), None

    name = attention.NAME
    before = attention.AttentionInterface._global_mapping[name]
    attention.AttentionInterface.register(name, everything)
    try:
        assert not make_forward(FAMILIES["llama"]()).packed
    finally:
        attention.AttentionInterface.register(name, before)


def test_a_window_is_checked_only_if_a_sequence_reaches_it(monkeypatch):
    from retain.train import forward as forwards

    seen = []
    whole = forwards._random_rows
    monkeypatch.setattr(
        forwards,
        "_random_rows",
        lambda *a: seen.append([r.num_tokens for r in whole(*a)]) or whole(*a),
    )
    make_forward(FAMILIES["gemma3"](), 10)
    make_forward(FAMILIES["gemma3"](), 64)
    assert seen == [[5, 23, 11], [5, 23, 11, 19]]


def test_a_head_that_does_more_than_the_whole_model_says_is_refused():
    model = FAMILIES["llama"]()
    whole = type(model).forward

    class Odd(type(model)):
        def forward(self, input_ids=None, **kwargs):
            output = whole(self, input_ids=input_ids, **kwargs)
            if input_ids is not None:
                output.logits = output.logits * 1.5
            return output

    model.__class__ = Odd
    with pytest.raises(ModelError, match="decoder and head apart"):
        make_forward(model)


def test_the_mode_is_left_as_found(tiny_model):
    tiny_model.train()
    make_forward(tiny_model)
    assert tiny_model.training


def test_a_batch_points_from_each_trained_token_to_the_position_before_it():
    rows = [make_row("a", 4, trained=2, weight=2.0), make_row("b", 3)]
    batch = make_batch(rows, torch.device("cpu"), with_positions=True)
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert batch.rows.tolist() == [1, 2, 4, 5]
    assert batch.targets.tolist() == [*rows[0].input_ids[2:], *rows[1].input_ids[1:]]
    assert batch.weights.tolist() == [2, 2, 1, 1]
