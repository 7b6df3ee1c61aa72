"""Remedies in a whole run of a tiny model: what they chose, mixed in and left alone."""

import json

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from retain import api
from retain.api.prepared import prepare
from tests.conftest import make_model
from tests.methods.test_freeze_by_weights import PARTS, spectrum
from tests.test_end_to_end import make_project

pytestmark = pytest.mark.slow  # whole runs

FREEZE = {"method": "freeze"}
REPLAY = {"method": "experience_replay", "share": 0.2}
ARMS = {
    "none": [],
    "random": [FREEZE | {"select": "random", "num_layers": 1}],
    "changed": [FREEZE | {"select": "most_changed", "num_layers": 2}],
    "spectrum": [FREEZE | {"select": "signal_to_noise", "fraction": 0.5}],
    "probe": [FREEZE | {"select": "probe", "num_layers": 1}],
    "parallel": [REPLAY | {"select": "parallel", "share_of": "trained_tokens"}],
    "mixing": [
        {"method": "instruction_mixing", "num_examples": 6, "general": {"data": "general.jsonl"}}
    ],
    "both": [REPLAY | {"loss_weight": "by_token"}, FREEZE | {"num_layers": 1}],
}
CHOOSING = {"random", "changed", "spectrum", "probe", "both"}
NUM_LAYERS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer):
    """A finished run of all arms: its folder, what was planned, the trained rows by arm."""
    folder = tmp_path_factory.mktemp("remedies")
    make_model(num_hidden_layers=NUM_LAYERS).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    make_project(folder, folder / "base")
    texts = [json.loads(line) for line in (folder / "text.jsonl").read_text().splitlines()]
    pairs = [one | {"english": f"the sea and {one['text'][:40]}"} for one in texts]
    (folder / "text.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    general = [{"prompt": f"what is {n} and one?", "completion": f"it is {n}"} for n in range(40)]
    (folder / "general.jsonl").write_text("\n".join(map(json.dumps, general)))
    recipe = yaml.safe_load((folder / "own.yaml").read_text())
    recipe["phases"][1]["data"] = {"source": "text.jsonl", "parallel": "english"}
    recipe |= {
        "arms": ARMS,
        "budget": "same_total_tokens",
        "evaluate": {"tasks": ["phases"], "limit": 9},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(folder)
        plan = api.plan(recipe)
        api.run(recipe)
        prepared = prepare(recipe, (), api.RUNS, None)
        rows = {row.arm: row for row in prepared.graph.rows if row.phase == "text"}
        yield folder, plan, rows, prepared.store


def read(store, step, name):
    return json.loads(store.open(step, name).read_text("utf-8"))


def chosen(store, row):
    return read(store, row.train.inputs["trainable"], "trainable.json")


def weights(store, step):
    return load_file(store.path(step) / "model" / "model.safetensors")


def test_a_method_leaves_no_trace_where_it_does_not_act(run):
    _, plan, rows, _ = run
    trained = [line.step for line in plan.lines if line.step.kind == "train"]
    assert len(trained) == 1 + len(ARMS)
    assert len({row.train.inputs["model"].fingerprint for row in rows.values()}) == 1
    assert {arm for arm, row in rows.items() if "trainable" in row.train.inputs} == CHOOSING
    untouched = {row.mix.fingerprint for arm, row in rows.items() if arm in CHOOSING - {"both"}}
    assert untouched == {rows["none"].mix.fingerprint}


def test_what_was_to_stand_still_did(run):
    _, _, rows, store = run
    for arm in CHOOSING:
        names = set(chosen(store, rows[arm])["names"])
        before = weights(store, rows[arm].train.inputs["model"])
        for name, value in weights(store, rows[arm].train).items():
            assert np.array_equal(before[name], value) == (name not in names), (arm, name)


def test_most_changed_is_what_numpy_finds_in_the_saved_weights(run):
    folder, _, rows, store = run
    base = load_file(folder / "base" / "model.safetensors")
    after = weights(store, rows["changed"].train.inputs["model"])
    by_layer = np.zeros(NUM_LAYERS)
    for name in base:
        if name.startswith("model.layers."):
            moved = np.linalg.norm(after[name].astype(float) - base[name].astype(float))
            by_layer[int(name.split(".")[2])] += moved / np.linalg.norm(base[name].astype(float))
    numbers = chosen(store, rows["changed"])["numbers"]
    assert numbers["layer_scores"] == pytest.approx(by_layer, rel=1e-4)
    assert numbers["chosen_layers"] == sorted(np.argsort(-by_layer)[:2].tolist())


def test_spectrum_is_what_numpy_finds_in_the_saved_weights(run):
    _, _, rows, store = run
    saved = weights(store, rows["spectrum"].train.inputs["model"])
    names = set(chosen(store, rows["spectrum"])["names"])
    for part in PARTS:
        ranked = sorted(
            (f"model.layers.{layer}.{part}.weight" for layer in range(NUM_LAYERS)),
            key=lambda name: -spectrum(saved[name]),
        )
        assert [name in names for name in ranked] == [True, True, False, False]


def test_every_arm_trains_the_same_tokens_and_steps(run):
    _, _, rows, store = run
    facts = {arm: read(store, row.mix, "facts.json") for arm, row in rows.items()}
    longest = 2 * 64  # a new sequence, and what its absence changes in the shares
    total = facts["none"]["trained_tokens"]
    for arm, one in facts.items():
        assert one["num_steps"] == facts["none"]["num_steps"], arm
        assert 0 <= total - one["trained_tokens"] <= longest, arm
    assert facts["mixing"]["sources"]["extra:general.jsonl"]["examples"] == 6
    realised = facts["parallel"]["realised_share"]["extra:parallel"]
    assert realised["trained_tokens"] == pytest.approx(0.2, abs=0.03)


def test_what_a_plan_foresaw_is_what_moved(run):
    _, plan, rows, store = run
    foreseen = {line.step: line.trainable_parameters for line in plan.lines}
    for arm in ("none", "random", "both"):
        facts = read(store, rows[arm].train, "facts.json")
        assert foreseen[rows[arm].train] == facts["trainable_parameters"], arm
    for arm in ("changed", "spectrum", "probe"):
        assert any(note.startswith(f"text-{arm}: its choice needs") for note in plan.notes)


def test_the_report_shows_every_choice_and_comparison(run):
    folder, _, _, _ = run
    page = (folder / "runs" / "own" / "report.html").read_text("utf-8")
    for arm in ("changed", "spectrum", "probe"):
        assert f'aria-label="What layers of {arm} were ranked by"' in page
    for told in ("What moves", "Compared with the control", "relative weight change", "signal to"):
        assert told in page
    assert (folder / "runs" / "own" / "figures" / "what-moves.svg").is_file()
