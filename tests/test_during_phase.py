"""Checkpoints inside a phase from the recipe to the exported model; runs compared and shared."""

import csv
import json

import pytest
from transformers import AutoModelForCausalLM

from retain import api
from retain.api.prepared import prepare
from retain.errors import DataError, RetainError

pytestmark = pytest.mark.slow  # whole runs

TRAIN = {"learning_rate": 1e-3, "max_steps": 6, "batch_size": 8, "precision": "fp32"}


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model_folder):
    """Two finished runs of one skill: the second at another rate."""
    folder = tmp_path_factory.mktemp("during")
    rows = [
        {"question": f"which is {n}?", "choices": ["Anatomy", "Surgery"], "answer": n % 2}
        for n in range(160)
    ]
    (folder / "skill.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = {
        "name": "first",
        "model": str(tiny_model_folder),
        "phases": [
            {"name": "skill", "data": "skill.jsonl", "train": TRAIN, "held_out": {"count": 60}}
        ],
        "evaluate": {"tasks": ["phases"], "during_phase": 2},
        "arms": {"none": [], "low_rate": {"train": {"learning_rate": 1e-4}}},
        "keep": {"models": "all"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAIN_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        api.run(values)
        other = values | {"name": "second", "evaluate": {"tasks": ["phases"]}}
        other["arms"] = {"none": [], "low_rate": {"train": {"learning_rate": 3e-4}}}
        api.run(other)
        yield values


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_checkpoint_is_scored_and_is_what_a_direct_scoring_says(project):
    found = rows("runs/first/during.csv")
    assert {(row["arm"], row["optimizer_step"], row["part"]) for row in found} == {
        (arm, step, part)
        for arm in ("none", "low_rate")
        for step, part in (("2", "33.3%"), ("4", "66.7%"))
    }
    graph = prepare(project, (), api.RUNS, None).graph
    store = api.Store(api.RUNS / api.STEPS)
    (end,) = [row for row in graph.rows if (row.arm, row.phase_index) == ("none", 1)]
    places = [store.path(end.train) / f"checkpoints/{place}" for place in (1, 2)]
    assert all(AutoModelForCausalLM.from_pretrained(place) for place in places)
    for place, evaluations in zip(places, end.inside, strict=True):
        (step,) = evaluations.values()
        assert step.inputs["model"] == end.train
        scores = json.loads(store.open(step, "scores.json").read_text())
        (value,) = [s["value"] for s in scores if s["is_main"] and s["role"] == "report"]
        optimizer_step = {1: "2", 2: "4"}[int(place.name)]
        (row,) = [
            row
            for row in found
            if (row["arm"], row["optimizer_step"], row["is_main"])
            == ("none", optimizer_step, "true")
        ]
        assert float(row["value"]) == pytest.approx(value, rel=1e-5)
    assert "66.7%" in (api.RUNS / "first" / "report.html").read_text()


def test_nothing_is_done_again_and_the_ends_are_in_their_own_table(project):
    assert api.run(project).num_done == 0
    arms = {row["arm"] for row in rows("runs/first/scores.csv")}
    assert arms == {"none", "low_rate"}
    assert not (api.RUNS / "second" / "during.csv").exists()


def test_a_checkpoint_is_exported_with_its_scores(project, tmp_path):
    api.export("first", "none@33.3%", tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "stopped after 33.3% of the last phase" in card
    assert "model-index:" in card
    assert "| skill |" in card
    assert str(api.RUNS.resolve()) not in card
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    api.export("first", "none", tmp_path / "end")
    ends = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("model", "end")]
    assert ends[0] != ends[1]


def test_two_runs_are_compared_arm_by_arm(project, tmp_path):
    text = api.compare("first", "second", output=tmp_path / "apart.csv")
    found = rows(tmp_path / "apart.csv")
    assert {row["arm"] for row in found} == {"base", "none", "low_rate"}
    by_arm = {row["arm"]: float(row["difference"]) for row in found}
    assert by_arm["base"] == by_arm["none"] == 0.0
    assert "first less second" in text
    with pytest.raises(DataError, match="the same run twice"):
        api.compare("first", "runs/first")
    with pytest.raises(RetainError, match="Did you mean 'second'"):
        api.compare("first", "secnd")


def test_a_shared_report_names_no_path(project, tmp_path):
    page = api.report("runs/first", share=True)
    assert page == api.RUNS / "first" / "share" / "report.html"
    for path in page.parent.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in (str(tmp_path.parent), "skill.jsonl", "which is"):
                assert secret.encode() not in content, path


def test_more_steps_inside_than_there_are_is_told(project):
    changed = project | {"name": "third", "evaluate": {"tasks": ["phases"], "during_phase": 6}}
    with pytest.raises(RetainError, match="ask for fewer, or train longer"):
        api.run(changed)
