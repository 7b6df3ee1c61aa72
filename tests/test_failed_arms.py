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
    page = (run / "report.html").read_text()
    first_screen, rest = page.split('class="verdict"', 1)
    assert "Arm writes failed." in first_screen
    assert "tree_generation" in first_screen  # which step, and what it said
    assert rest.count('class="lost"') == 2  # scores, and what differs between the arms
    assert "writes & \\multicolumn" in (run / "measures.tex").read_text()
    assert api.export("toy", "low", tmp_path / "model")


def test_the_report_can_be_written_again(values, tmp_path):
    run = tmp_path / "runs" / "toy"
    with pytest.raises(RetainError, match="tree_generation"):
        api.run(values)
    (run / "report.html").unlink()
    assert "Arm writes failed." in api.report(run).read_text()
    shared = api.report(run, share=True).read_text()
    assert "Arm writes failed." in shared
    assert "Raise answer_tokens" not in shared  # what a step said may hold paths and texts
    api.run(values | {"name": "other", "arms": {"none": []}})
    assert "no arm in common" not in api.compare("toy", "other")

    entries = (run / "journal.jsonl").read_text().splitlines()
    failed = next(line for line in entries if '"step failed"' in line)
    (run / "journal.jsonl").write_text(failed.replace("step failed", "step interrupted") + "\n")
    with pytest.raises(RetainError, match="steps are not finished"):  # not failed: not yet done
        api.report(run)


def test_where_no_arm_is_left_it_ends_at_once(values, tmp_path):
    with pytest.raises(RetainError, match="tree_generation"):
        api.run(values | {"arms": {"writes": [WRITES]}})
    assert not (tmp_path / "runs" / "toy" / "report.html").exists()
