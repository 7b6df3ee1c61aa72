"""Many documents in one kernel: the bounds it is told, against one call a document."""

import pytest
import torch

from retain.model import varlen
from retain.train.forward import make_forward
from tests.train.families import FAMILIES
from tests.train.phases import make_row

HALF = torch.device("cpu")


def kernel(query, key, value, *, cu_seq_q, cu_seq_k, max_q, max_k, scale, window_size, enable_gqa):
    """What torch's ``varlen_attn`` does, by its documentation, one document after another."""
    assert cu_seq_q.dtype == torch.int32
    outputs = []
    for first, last in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True):
        q, k, v = (one[first:last].transpose(0, 1).float() for one in (query, key, value))
        if enable_gqa:
            k, v = (one.repeat_interleave(q.shape[0] // k.shape[0], 0) for one in (k, v))
        place = torch.arange(last - first)
        distance = place[:, None] - place[None, :]
        left, right = window_size
        seen = (distance >= -right) & ((distance <= left) if left >= 0 else True)
        scores = (q @ k.transpose(1, 2) * scale).masked_fill(~seen, float("-inf"))
        outputs.append((scores.softmax(-1) @ v).transpose(0, 1))
    assert cu_seq_q[-1] == len(query)
    assert torch.equal(cu_seq_q, cu_seq_k)
    assert max_q == max_k
    return torch.cat(outputs).to(query.dtype)


@pytest.fixture
def with_kernel(monkeypatch):
    """The kernel stands ready on this device, for all precisions."""
    calls = []
    monkeypatch.setattr(
        "torch.nn.attention.varlen.varlen_attn",
        lambda *states, **options: calls.append(options) or kernel(*states, **options),
    )
    varlen.agrees.cache_clear()
    yield calls
    varlen.agrees.cache_clear()


@pytest.mark.parametrize("window", [None, 7])
def test_the_trial_accepts_a_kernel_that_is_right(with_kernel, window):
    assert varlen.agrees(varlen.Shape(HALF, torch.bfloat16, 4, 2, 16, window))


def test_the_trial_notices_a_kernel_that_mixes_documents(with_kernel, monkeypatch):
    monkeypatch.setattr(
        varlen, "bounds", lambda lengths, device: torch.tensor([0, sum(lengths)]).int()
    )
    assert not varlen.agrees(varlen.Shape(HALF, torch.bfloat16, 4, 4, 16, None))


def test_a_kernel_that_fails_is_not_taken(monkeypatch):
    def fails(*states, **options):
        raise RuntimeError("no kernel for this head size")

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", fails)
    varlen.agrees.cache_clear()
    assert not varlen.agrees(varlen.Shape(HALF, torch.bfloat16, 4, 4, 16, None))
    varlen.agrees.cache_clear()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_row_goes_through_the_kernel_and_gives_the_same(family, with_kernel, monkeypatch):
    model = FAMILIES[family]()
    rows = [make_row("a", 30), make_row("b", 3), make_row("c", 47)]
    forward = make_forward(model, 64)

    def packed():
        model.zero_grad()
        with forward.attention(rows):
            logits = forward.head(forward.hidden(forward.batch(rows)))
            logits.square().mean().backward()
        return logits.detach(), model.get_input_embeddings().weight.grad.clone()

    apart = packed()
    assert not with_kernel  # fp32 on a CPU: a call a document
    monkeypatch.setattr(varlen, "takes", lambda query, key, window: True)
    together = packed()
    assert {one["max_q"] for one in with_kernel} == {47}
    assert len(with_kernel) == model.config.get_text_config().num_hidden_layers
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_on_a_cpu_no_trial_is_made(with_kernel):
    states = torch.zeros(1, 2, 4, 8, dtype=torch.bfloat16)
    assert not varlen.takes(states, states, None)
    assert not with_kernel


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("num_groups", [4, 2])
def test_the_kernel_of_the_device_is_right(num_groups, window):
    device = torch.device("cuda", 0)
    assert varlen.agrees(varlen.Shape(device, torch.bfloat16, 4, num_groups, 64, window))
