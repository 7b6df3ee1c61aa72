"""A recipe on a model with an encoder, from one's own data to the report."""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForSeq2SeqLM

from retain import api
from retain.errors import RecipeError
from tests.test_end_to_end import make_project, rows
from tests.train.families import make_t5_folder

REST = """  limit: 16
arms:
  frozen: [{method: experience_replay, share: 0.2}, {method: freeze, num_layers: 3}]
  adapter: {train: {tuning: lora, lora_r: 4}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project on a tiny T5, as the current folder."""
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, make_t5_folder(tmp_path / "t5"))
    head, _ = Path("own.yaml").read_text().split("arms:\n")
    Path("own.yaml").write_text(head.replace("fp32,", "fp32, report_to: tensorboard,") + REST)
    return tmp_path


@pytest.mark.slow
def test_a_recipe_on_an_encoder_decoder(project):
    plan = api.plan("own.yaml")
    lines = [line for line in plan.lines if line.step.kind == "train"]
    assert all(line.seconds > 0 and line.memory_bytes > 0 for line in lines)
    trainable = {line.step.name: line.trainable_parameters for line in lines}
    assert 0 < trainable["text-adapter"] < trainable["text-frozen"] < trainable["skill"]

    api.run("own.yaml")
    scores = rows("runs/own/scores.csv")
    assert {row["arm"] for row in scores} == {"frozen", "adapter"}
    found = {
        (row["task"], row["metric"]): float(row["value"])
        for row in scores
        if (row["arm"], row["phase_index"]) == ("adapter", "2")
    }
    before = {
        (row["task"], row["metric"]): float(row["value"])
        for row in scores
        if (row["arm"], row["phase_index"]) == ("adapter", "0")
    }
    assert set(found) >= {("phase:skill", "acc"), ("mine", "exact_match")}
    assert found["phase:text", "bits_per_byte"] < 0.95 * before["phase:text", "bits_per_byte"]
    for arm in ("frozen", "adapter"):
        model = AutoModelForSeq2SeqLM.from_pretrained(f"runs/own/models/{arm}-seed0-text")
        assert model.config.is_encoder_decoder
    assert "AutoModelForSeq2SeqLM" in api.export("own", "frozen", "exported")
    facts = json.loads(next(Path("runs/.steps/mix").glob("text-*/facts.json")).read_text())
    (tracked,) = Path("runs/own/tracking").glob("text-adapter-*")
    assert list(tracked.glob("events.out.tfevents.*"))
    assert 0.4 < facts["trained_tokens"] / facts["num_tokens"] < 0.6


def test_a_method_that_calls_a_decoder_is_refused_before_anything_runs(project):
    arms = "arms.frozen=[{method: freeze, select: probe, num_layers: 1}]"
    with pytest.raises(RecipeError, match=r"arm 'frozen'.*freeze calls the model as a decoder"):
        api.plan("own.yaml", [arms])


def test_what_is_of_decoders_alone_is_refused_before_anything_runs(project):
    with pytest.raises(RecipeError, match=r"phase 'skill': completion_only_loss: false trains"):
        api.plan("own.yaml", ["phases.skill.train.completion_only_loss=false"])


def test_probes_read_a_decoder(project):
    with pytest.raises(RecipeError, match=r"evaluate.probes: drift read a decoder's layers"):
        api.plan("own.yaml", ["evaluate.probes=[drift]"])
