"""An arm that fails does not take the others with it."""

import csv
import json

import pytest

from retain import api
from retain.errors import RetainError

WRITES = {"method": "tree_generation", "num_tokens": 1200, "languages": ["ne"]}  # cannot be met


@pytest.fixture
def values(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"number {number} and five words more"} for number in range(60)]
    (tmp_path / "text.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = {"learning_rate": 1e-3, "max_steps": 2, "batch_size": 4, "precision": "fp32"}
    train |= {"objective": "pretrain", "max_length": 64}
    return {
        "name": "toy",
        "model": str(tiny_model_folder),
        "phases": [{"name": "a", "data": "text.jsonl", "train": train}],
        "evaluate": {"tasks": ["phases"]},
        "arms": {"writes": [WRITES], "none": [], "low": {"train": {"learning_rate": 1e-4}}},
    }


def test_the_other_arms_are_finished_and_reported(values, tmp_path):
    values["fail_if"] = [{"measure": "score", "arms": ["writes"], "below": 0.0}]
    with pytest.raises(RetainError, match="Raise answer_tokens or question_tokens"):
        api.run(values)
    run = tmp_path / "runs" / "toy"
    with (run / "scores.csv").open() as file:
        assert {row["arm"] for row in csv.DictReader(file)} == {"none", "low"}
    assert "Arm writes failed and is not in the tables" in (run / "report.html").read_text()
    assert api.export("toy", "low", tmp_path / "model")
    with pytest.raises(RetainError, match="steps are not finished"):
        api.report(run)


def test_where_no_arm_is_left_it_ends_at_once(values, tmp_path):
    with pytest.raises(RetainError, match="tree_generation"):
        api.run(values | {"arms": {"writes": [WRITES]}})
    assert not (tmp_path / "runs" / "toy" / "report.html").exists()
