"""Probes from a recipe to the report."""

import csv
import json

from retain import api

RECIPE = """
name: probed
model: {model}
phases:
  - name: text
    data: text.jsonl
    train: {{objective: pretrain, learning_rate: 1.0e-2, max_steps: 3, batch_tokens: 256,
             max_length: 64, precision: fp32}}
evaluate: {{tasks: [phases], probes: [drift, attention]}}
arms: {{none: []}}
"""


def test_a_recipe_s_probes_are_measured_once_and_reported(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"the cat sat on a mat and the dog ran to the sea {i}"} for i in range(60)]
    (tmp_path / "text.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "probed.yaml").write_text(RECIPE.format(model=tiny_model_folder))

    planned = [line.step for line in api.plan("probed.yaml").lines]
    assert sorted(step.name for step in planned if step.kind == "probe") == [
        "attention-base",
        "attention-text-none",
        "drift-text-none",
    ]
    api.run("probed.yaml")

    with open("runs/probed/measures.csv", encoding="utf-8") as file:
        found = [row for row in csv.DictReader(file) if row["task"].startswith("probe:")]
    value = {(row["measure"], row["metric"], row["phase_index"]): row["value"] for row in found}
    assert float(value["divergence", "all layers", "1"]) > 0
    assert 0 < float(value["linear_cka", "layer 1", "1"]) < 1
    assert float(value["weight_change", "layer 0", "1"]) > 0
    assert {("heads_beyond_chance", "nepali", row) for row in "01"} <= set(value)
    page = (tmp_path / "runs/probed/report.html").read_text("utf-8")
    assert "How far the models moved" in page
    assert "Attention between dependent words" in page
    assert all(line.is_cached for line in api.plan("probed.yaml").lines)
