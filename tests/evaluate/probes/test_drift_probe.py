"""Drift between folders: nothing moved, one block moved, adapters, and what is refused."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from retain.data.example import Example
from retain.errors import TaskError
from retain.evaluate.probes import PROBE, drift
from retain.evaluate.probes.step import Models, held_out, run
from retain.model import adapters
from retain.model.load import load
from retain.model.outputs import PROBE_TEXTS, block_outputs
from retain.model.tensors import FolderTensors
from retain.steps.step import Step
from retain.steps.store import Store
from tests.conftest import make_model
from tests.evaluate.probes.conftest import LAYERS, MOVED

TEXTS = [Example(source="t", text=f"the cat sat on a mat and the dog ran {n}") for n in range(12)]
ANSWERED = [
    Example(
        source="a",
        messages=({"role": "user", "content": "which?"}, {"role": "assistant", "content": "b"}),
        choices=("heart", "bones and muscle"),
        answer=1,
    )
]


def test_nothing_moved(base):
    found = drift.measure(Models(base, base), [TEXTS])
    assert found["layers"]["cka"] == pytest.approx([1] * LAYERS)
    assert found["layers"]["cosine"] == pytest.approx([1] * LAYERS)
    assert found["layers"]["covariance"] == pytest.approx([0] * LAYERS, abs=1e-6)
    assert found["layers"]["weights"] == [0] * LAYERS
    assert found["divergence"]["nats_per_token"] == 0
    assert found["divergence"]["num_examples"] == len(TEXTS)


def test_tokens_count_by_direction_and_without_the_first_of_each_text(base):
    """A few tokens are so long in real models that they would decide every figure."""
    loaded = load(str(base), precision="fp32")
    lengths = [len(loaded.tokenizer(text).input_ids) for text in PROBE_TEXTS]
    states = drift.directions(loaded)
    assert [one.shape[0] for one in states] == [sum(lengths) - len(lengths)] * LAYERS
    assert np.linalg.norm(states[0], axis=1) == pytest.approx(1)
    second = block_outputs(loaded, PROBE_TEXTS[:1])[0][1].numpy()
    assert states[0][0] * np.linalg.norm(second) == pytest.approx(second, rel=1e-4)


def test_one_block_moved(base, moved):
    found = drift.measure(Models(base, moved), [TEXTS, ANSWERED])
    still = [0.0] * LAYERS
    still[MOVED] = 0.5
    assert found["layers"]["weights"] == pytest.approx(still)
    covariance = found["layers"]["covariance"]
    assert covariance[:MOVED] == pytest.approx([0] * MOVED, abs=1e-6)
    assert min(covariance[MOVED:]) > 1e-3
    told = found["divergence"]
    assert 0 < told["low"] <= told["nats_per_token"] <= told["high"]
    assert told["num_examples"] == len(TEXTS) + 1
    json.dumps(found, allow_nan=False)


def test_the_divergence_is_that_of_the_answers_alone(base, moved, tokenizer):
    places = drift.scored_places(load(str(base), precision="fp32"), [ANSWERED])
    [(tokens, scored)] = places
    answer = [tokens[place + 1] for place in scored]
    assert tokenizer.decode(answer).strip() == "bones and muscle"
    ids = torch.tensor([tokens])
    total = 0.0
    with torch.no_grad():
        one, other = (
            AutoModelForCausalLM.from_pretrained(folder)(ids).logits[0].double().softmax(-1)
            for folder in (base, moved)
        )
    for place in scored:
        p, q = one[place], other[place]
        total += float((p * (p.log() - q.log())).sum())
    found = drift.measure(Models(base, moved), [ANSWERED])["divergence"]
    assert found["num_tokens"] == len(answer)
    assert found["nats_per_token"] == pytest.approx(total / len(answer), rel=1e-3)
    assert found["low"] is found["high"] is None  # one example has no interval


def test_where_memory_is_short_every_example_keeps_some_places(base, monkeypatch):
    loaded = load(str(base), precision="fp32")
    whole = drift.scored_places(loaded, [TEXTS, ANSWERED])
    monkeypatch.setattr(drift, "KEPT_NUMBERS", 400 * 13 * 3)
    few = drift.scored_places(loaded, [TEXTS, ANSWERED])
    assert [tokens for tokens, _ in few] == [tokens for tokens, _ in whole]
    for (_, kept), (_, places) in zip(few, whole, strict=True):
        assert len(kept) == min(3, len(places))
        assert set(kept) <= set(places)
        assert kept[0] == places[0]


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
def test_an_adapter_counts_as_if_it_were_merged(base, kind):
    adapter = adapters.Adapter(kind=kind)
    model = adapters.attach(make_model(num_hidden_layers=LAYERS), adapter)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "ia3" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)

    loaded = load(str(base), precision="fp32")
    loaded = type(loaded)(**{**vars(loaded), "model": model.eval()})
    found = drift.weight_changes(loaded, FolderTensors(base))

    merged = dict(model.merge_and_unload().named_parameters())
    for layer in range(LAYERS):
        names = [name for name in FolderTensors(base) if f"layers.{layer}." in name]
        before = np.concatenate([FolderTensors(base)[name].flatten() for name in names])
        after = np.concatenate([merged[name].detach().flatten() for name in names])
        moved = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert found[layer] == pytest.approx(moved, rel=1e-4)
        assert moved > 0


def test_what_cannot_be_compared_is_refused(base, tiny_model_folder):
    with pytest.raises(TaskError, match="no held-out example"):
        drift.measure(Models(base, base), [[]])
    with pytest.raises(TaskError, match="4 blocks of other shapes than the 2"):
        drift.measure(Models(base, tiny_model_folder), [TEXTS])


def test_the_step_writes_what_the_report_reads(tmp_path, base):
    data = tmp_path / "heldout.jsonl"
    roles = ["select", "report"] * 6
    rows = [one.to_json() | {"role": role} for one, role in zip(TEXTS, roles, strict=True)]
    data.write_text("\n".join(map(json.dumps, rows)))
    assert held_out(data) == TEXTS[1::2]

    store = Store(tmp_path / "store")
    source = Step("data", "text", 1, {})
    with store.begin(source) as work:
        (work.output / "heldout.jsonl").write_text(data.read_text())
    step = Step("probe", "drift-x", 1, {"probe": "drift"}, inputs={"new": source})
    with store.begin(step) as work:
        run(work, base=base)
    assert json.loads(store.open(step, PROBE).read_text())["divergence"]["num_examples"] == 6
