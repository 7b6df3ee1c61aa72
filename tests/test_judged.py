"""A judge from a recipe to the report."""

import csv
import json

import pytest

from retain import api
from retain.errors import TaskError
from tests.evaluate.judge.server import serving

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
KEY = "sk-very-secret"
RECIPE = """
name: judged
model: {model}
phases:
  - name: skill
    data: skill.jsonl
    held_out: {{count: 16}}
    train: {{learning_rate: 3.0e-2, max_steps: 12, batch_size: 4, max_length: 64, precision: fp32}}
evaluate:
  tasks: [phases]
  judge: {{model: judge-1, address: "{address}", tasks: ["phase:skill"], limit: 10}}
arms: {{none: []}}
"""


def takes_the_first(messages):
    if "answer_a" in messages[0]["content"]:
        return "<script>alert(1)</script>\nVerdict: A"
    return "fluency: 2\nadequacy: 1\ngrammar: 5"


def test_a_judge_is_asked_once_and_reported(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETAIN_JUDGE_API_KEY", KEY)
    rows = [{"prompt": f"say {n} twice", "completion": "yes the cat sat"} for n in range(60)]
    (tmp_path / "skill.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with serving(takes_the_first, [(401, {}, f"wrong key {KEY}")]) as server:
        recipe = RECIPE.format(model=tiny_model_folder, address=server.address)
        (tmp_path / "judged.yaml").write_text(recipe)
        plan = api.plan("judged.yaml")
        assert sorted(line.step.name for line in plan.lines if line.step.kind == "judge") == [
            "pairwise-skill-skill-none",
            "rubric-skill-base",
            "rubric-skill-skill-none",
        ]
        assert any(f"sent to {server.address}" in note for note in plan.notes)
        with pytest.raises(TaskError, match="401"):
            api.run("judged.yaml")
        api.run("judged.yaml")
        num_asked = len(server.seen)
        api.run("judged.yaml")
        assert len(server.seen) == num_asked

    with open("runs/judged/measures.csv", encoding="utf-8") as file:
        found = {
            (row["measure"], row["metric"], row["phase_index"]): row for row in csv.DictReader(file)
        }
    preferred = found["judge_preference", "judge", "1"]
    assert float(preferred["value"]) == 0.5
    assert preferred["versus"] == "base"
    assert float(found["judge_position_bias", "judge", "1"]["value"]) == 1
    assert float(found["judge_points", "grammar", "0"]["value"]) == 5
    assert float(found["judge_points_change", "grammar", "1"]["value"]) == 0
    page = (tmp_path / "runs/judged/report.html").read_text("utf-8")
    assert "What a judge says of the answers" in page
    assert "This judge takes what it is shown first" in page
    assert "<script>alert" not in page
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
