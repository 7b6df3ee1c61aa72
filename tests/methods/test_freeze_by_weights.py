"""Choices that follow from weights or outputs, against numpy over the saved files."""

import json
from random import Random

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from retain.errors import RecipeError
from retain.measure.weights import relative_change, signal_to_noise
from retain.methods.freeze import Freeze
from retain.methods.given import History
from retain.model import cache
from retain.model.load import load_model
from retain.model.outputs import PROBE_TEXTS
from retain.model.tensors import FolderTensors
from retain.steps.step import Step
from retain.train import probes, trainable_step
from retain.train.layers import layers
from tests.conftest import make_model
from tests.train.families import t5
from tests.train.test_train_step import Bench

NUM_LAYERS = 6
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("deep")
    make_model(num_hidden_layers=NUM_LAYERS).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_model_is_kept():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def phases(base, tmp_path, tokenizer):
    """Two checkpoints: the first phase moved layers 4 and 1, the second moved 0 most of all."""

    def moved(source, name, how_far):
        model = load_model(source)
        draw = torch.Generator().manual_seed(len(name))
        with torch.no_grad():
            for index, size in how_far.items():
                for one in model.model.layers[index].parameters():
                    one += size * one.std().nan_to_num(0.1) * torch.randn(one.shape, generator=draw)
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    first = moved(base, "first", {4: 0.5, 1: 0.3, 2: 0.01})
    return {"first": first, "second": moved(first, "second", {0: 1.0, 5: 0.1})}


def chosen(method, base, phases, seed=0, **probed):
    history = History(
        base=FolderTensors(base),
        checkpoints={name: FolderTensors(folder) for name, folder in phases.items()},
    )
    return method.trainable(layers(load_model(base)), history, probed, Random(seed))


def changes(before, after):
    """Relative change of each layer, by numpy alone."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    by_layer = np.zeros(NUM_LAYERS)
    for name, value in old.items():
        if name.startswith("model.layers."):
            moved = np.linalg.norm(new[name].astype(float) - value.astype(float))
            by_layer[int(name.split(".")[2])] += moved / np.linalg.norm(value.astype(float))
    return by_layer


def spectrum(weight):
    """Spectrum's ratio, by numpy alone."""
    values = np.linalg.svd(weight.astype(float), compute_uv=False)
    sigma = (np.quantile(values, 0.75) - np.quantile(values, 0.25)) / 1.349
    edge = sigma * np.sqrt((1 + np.sqrt(min(weight.shape) / max(weight.shape))) ** 2)
    noise = values[values <= edge].sum() if (values <= edge).any() else 1.0
    return values[values > edge].sum() / noise / values[0]


def test_most_changed_equals_numpy_over_the_saved_weights(base, phases):
    found = chosen(Freeze(select="most_changed", num_layers=2), base, phases)
    expected = changes(base, phases["second"])
    assert found.numbers["layer_scores"] == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert found.numbers["chosen_layers"] == sorted(np.argsort(-expected)[:2].tolist()) == [0, 4]
    assert "model.layers.1.mlp.up_proj.weight" in found.names
    frozen = ("model.layers.0.", "model.layers.4.")
    assert not [name for name in found.names if name.startswith(frozen)]


def test_the_change_of_one_phase_may_count_alone(base, phases):
    first = Freeze(select="most_changed", num_layers=2, changed_in="first")
    second = Freeze(select="most_changed", num_layers=2, changed_in="second")
    found = chosen(second, base, phases).numbers
    assert chosen(first, base, phases).numbers["chosen_layers"] == [1, 4]
    assert found["chosen_layers"] == [0, 5]
    expected = changes(phases["first"], phases["second"])
    assert found["layer_scores"] == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_without_an_earlier_phase_nothing_has_changed(base, phases):
    with pytest.raises(RecipeError, match="this is the first; let it act later"):
        chosen(Freeze(select="most_changed", num_layers=1), base, {})
    with pytest.raises(RecipeError, match=r"no earlier phase 'third'; earlier phases: first, sec"):
        chosen(Freeze(select="most_changed", num_layers=1, changed_in="third"), base, phases)


@pytest.mark.parametrize("fraction", [0.5, 0.75, 0.8])
def test_signal_to_noise_equals_numpy_over_the_saved_weights(base, phases, fraction):
    found = chosen(Freeze(select="signal_to_noise", fraction=fraction), base, phases)
    saved = load_file(phases["second"] / "model.safetensors")
    num_moving = int((1 - fraction) * NUM_LAYERS + 1e-9)
    moving = set()
    for part in PARTS:
        names = [f"model.layers.{index}.{part}.weight" for index in range(NUM_LAYERS)]
        scores = {name: spectrum(saved[name]) for name in names}
        for name, score in scores.items():
            assert found.numbers["matrix_scores"][name] == pytest.approx(score, rel=1e-4)
        moving |= set(sorted(names, key=lambda name: -scores[name])[:num_moving])
    assert set(found.names) == moving | {"model.embed_tokens.weight", "model.norm.weight"}


def test_signal_to_noise_before_any_phase_reads_the_base_model(base):
    scores = chosen(Freeze(select="signal_to_noise", fraction=0.5), base, {}).numbers
    saved = load_file(base / "model.safetensors")
    for name, score in scores["matrix_scores"].items():
        assert score == pytest.approx(spectrum(saved[name]), rel=1e-4)


def test_signal_to_noise_ranks_encoder_and_decoder_each_by_itself():
    model = t5()  # three blocks and two
    weights = {name: one.detach() for name, one in model.named_parameters()}
    method = Freeze(select="signal_to_noise", fraction=0.5)
    found = method.trainable(layers(model), History(base=weights), {}, Random(0))
    moving = [name for name in found.names if name in found.numbers["matrix_scores"]]
    for stack, part, num in (
        ("encoder", "layer.1.DenseReluDense.wo", 3),
        ("decoder", "layer.2.DenseReluDense.wo", 2),
        ("decoder", "layer.1.EncDecAttention.q", 2),
    ):
        names = [f"{stack}.block.{index}.{part}.weight" for index in range(num)]
        scores = {name: spectrum(weights[name].numpy()) for name in names}
        assert [name for name in names if name in moving] == [max(scores, key=scores.__getitem__)]


def test_signal_to_noise_of_matrices_that_are_known():
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(60, 120, generator=draw)
    signal = 20 * torch.randn(60, 1, generator=draw) @ torch.randn(1, 120, generator=draw)
    for one in (noise, noise + 0.01 * signal, noise + signal):
        assert signal_to_noise(one * 0.02) == pytest.approx(spectrum(one.numpy() * 0.02), rel=1e-4)
    assert signal_to_noise(torch.stack([noise, noise])) == pytest.approx(signal_to_noise(noise))
    assert signal_to_noise(torch.zeros(4, 8)) == 0.0
    assert signal_to_noise(torch.eye(4)) == pytest.approx(4.0)  # nothing below the edge: noise 1
    assert relative_change(torch.ones(3), torch.zeros(3)) == 0.0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.float8_e4m3fn])
@pytest.mark.parametrize("select", ["signal_to_noise", "most_changed"])
def test_quantised_weights_are_refused(base, dtype, select):
    weights = dict(load_model(base).named_parameters())
    codes = {name: one.detach().to(dtype) for name, one in weights.items()}
    history = History(base=codes, checkpoints={"first": codes})
    places, method = layers(load_model(base)), Freeze(select=select, fraction=0.5)
    with pytest.raises(RecipeError, match=r"is quantised \(\w+8\w*\): its codes say nothing"):
        method.trainable(places, history, {}, Random(0))


@pytest.mark.parametrize("select", ["signal_to_noise", "most_changed"])
def test_broken_weights_are_refused(base, select):
    weights = {name: one.detach() for name, one in load_model(base).named_parameters()}
    broken = dict(weights)
    broken["model.layers.2.mlp.up_proj.weight"] = weights[
        "model.layers.2.mlp.up_proj.weight"
    ].clone()
    broken["model.layers.2.mlp.up_proj.weight"][0, 0] = float("nan")
    history = History(base=weights, checkpoints={"first": broken})
    method = Freeze(select=select, fraction=0.5)
    with pytest.raises(RecipeError, match=r"layers\.2\.mlp\.up_proj\.weight' holds a number that"):
        method.trainable(layers(load_model(base)), history, {}, Random(0))


def test_layers_that_nothing_tells_apart_are_not_ranked(base):
    with pytest.raises(RecipeError, match="how far they changed, and none of the 6 did"):
        chosen(Freeze(select="most_changed", num_layers=1), base, {"first": base})
    probe = Freeze(select="probe", num_layers=1)
    with pytest.raises(RecipeError, match="how far they drifted, and none of the 6 did"):
        chosen(probe, base, {}, activation_drift=[0.0] * NUM_LAYERS)
    with pytest.raises(RecipeError, match="cannot rank layer 1, whose score is nan"):
        chosen(probe, base, {}, activation_drift=[0.1, float("nan"), *[0.2] * 4])


def test_a_checkpoint_without_whole_weights_is_refused(base):
    history = History(base=FolderTensors(base), checkpoints={"first": {"lora_A": torch.ones(1)}})
    places, method = layers(load_model(base)), Freeze(select="signal_to_noise", fraction=0.5)
    with pytest.raises(RecipeError, match=r"have no 'model.layers.0.self_attn.q_proj.w.*merge"):
        method.trainable(places, history, {}, Random(0))


def test_a_fraction_that_leaves_no_matrix_is_refused(base):
    with pytest.raises(RecipeError, match=r"no matrix of any kind.*at most 0\.833"):
        chosen(Freeze(select="signal_to_noise", fraction=0.9), base, {})
    with pytest.raises(RecipeError, match="`modules` leaves none"):
        chosen(Freeze(select="signal_to_noise", fraction=0.5, modules=("norm",)), base, {})


def test_the_probe_is_the_drift_of_each_layer_s_output(base, phases, tokenizer):
    found = probes.activation_drift(base, phases["first"])
    models = [load_model(folder).eval() for folder in (base, phases["first"])]
    drifts = np.zeros(NUM_LAYERS)
    num_tokens = 0
    for text in PROBE_TEXTS:
        ids = torch.tensor([tokenizer(text).input_ids])
        with torch.no_grad():
            states = [
                m.model(input_ids=ids, output_hidden_states=True).hidden_states for m in models
            ]
        num_tokens += ids.shape[1]
        for layer in range(NUM_LAYERS - 1):  # transformers gives the last one behind the final norm
            before, after = (one[layer + 1][0].numpy() for one in states)
            moved = np.linalg.norm(after - before, axis=-1) / np.linalg.norm(before, axis=-1)
            drifts[layer] += moved.sum()
    assert found[:-1] == pytest.approx(drifts[:-1] / num_tokens, rel=1e-4)
    assert found[0] == 0 < found[1] < found[4]

    numbers = chosen(Freeze(select="probe", num_layers=2), base, phases, activation_drift=found)
    ranked = sorted(range(NUM_LAYERS), key=lambda layer: -found[layer])
    assert numbers.numbers["chosen_layers"] == sorted(ranked[:2])


def test_the_step_writes_what_moves_by_layer_and_why(base, phases, tmp_path):
    bench = Bench(tmp_path / "steps", base)
    first = Step("train", "p", 1, {"of": "first"})

    def copied(work):
        (work.output / "model").mkdir()
        for path in phases["first"].iterdir():
            (work.output / "model" / path.name).write_bytes(path.read_bytes())

    bench.run(first, copied)
    for select, asked in (("most_changed", {}), ("probe", {}), ("random", {"modules": ("mlp",)})):
        settings = {"seed": 0, "phase": "second", "history": ["first"], "of": select}
        step = Step("trainable", "t", 1, settings, {"model": first, "checkpoint:first": first})
        method = Freeze(select=select, num_layers=2, **asked)
        folder = bench.run(step, lambda w, m=method: trainable_step.run(w, base=base, method=m))
        content = json.loads((folder / "trainable.json").read_text())
        frozen = content["numbers"]["chosen_layers"]
        assert len(frozen) == 2
        for index, block in enumerate(content["moves"]["blocks"]):
            assert block["mlp"] == float(index not in frozen)
            assert block["attention"] == float(index not in frozen or bool(asked))
        assert content["moves"]["embeddings"] == 1.0
        assert content["moves"]["head"] is None
        assert bench.store.record(step)["facts"]["select"] == select
    assert content["numbers"].get("scored_by") is None
