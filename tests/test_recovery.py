"""Brief retunes from a recipe to the report."""

import csv
import json
from itertools import product

import pytest

from retain import api
from retain.errors import RecipeError
from retain.recipe import read_recipe

TRAIN = "learning_rate: 2.0e-2, batch_size: 8, max_length: 64, precision: fp32"
RECIPE = f"""
name: returned
model: {{model}}
phases:
  - name: cats
    data: cats.jsonl
    held_out: {{{{count: 30}}}}
    train: {{{{max_steps: 40, {TRAIN}}}}}
  - name: numbers
    data: numbers.jsonl
    train: {{{{max_steps: 30, {TRAIN}}}}}
evaluate:
  tasks: [phases]
  recovery: [{{{{task: "phase:cats", placebo: others.jsonl, max_steps: 10}}}}]
arms: {{{{none: []}}}}
"""


def write(path, texts):
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))


def test_a_loss_that_comes_back(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    animals, verbs = ("cat", "dog", "sea", "heart", "nerve"), ("sat", "ran", "is")
    places = ("mat", "house", "blood", "book", "drug", "bones", "muscle")
    cats = [f"the {a} {v} on a {p} and the dog {v} to the sea" for a, v, p in
            product(animals, verbs, places)]  # fmt: skip
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    write(tmp_path / "cats.jsonl", cats)
    write(tmp_path / "numbers.jsonl", [" ".join((a, b, a, b, b)) for a, b in product(words, words)])
    write(tmp_path / "others.jsonl", [f"मेरो नाम {a} यह एक {b}" for a, b in product(words, words)])
    (tmp_path / "returned.yaml").write_text(RECIPE.format(model=tiny_model_folder))

    plan = api.plan("returned.yaml")
    trained = [line for line in plan.lines if line.step.kind == "train"]
    assert sorted(line.step.name for line in trained) == [
        "cats",
        "numbers",
        "placebo-cats-none",
        *["recovery-cats-none", "recovery-cats-none"],
    ]
    assert all(line.seconds > 0 and line.tokens for line in trained)
    api.run("returned.yaml")

    with open("runs/returned/measures.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["measure"].startswith("recovery_")]
    value = {row["measure"]: row for row in rows}
    lost, share = value["recovery_loss"], value["recovery_share"]
    assert float(lost["ci_low"]) > 0
    assert lost["unit"] == "-bits_per_byte"
    assert lost["versus"] == "just_learnt"
    assert 0.3 < float(share["value"]) < 1.2
    assert float(share["ci_low"]) <= float(share["value"]) <= float(share["ci_high"])
    assert float(value["recovery_placebo_share"]["value"]) < float(share["value"])
    page = (tmp_path / "runs/returned/report.html").read_text("utf-8")
    assert "Does a brief retune bring it back" in page
    assert "recovery, placebo" in page
    assert all(line.is_cached for line in api.plan("returned.yaml").lines)


def values(**entry):
    return {
        "name": "returned",
        "model": "embedded:smollm2-135m-instruct",
        "phases": [{"name": name, "data": f"{name}.jsonl"} for name in ("cats", "numbers")],
        "evaluate": {
            "tasks": ["phases", "embedded_boolq"],
            "recovery": [{"placebo": "other.jsonl"} | entry],
        },
    }


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"task": "phase:dogs"}, "unknown task 'phase:dogs'"),
        ({"task": "phase:numbers"}, "'numbers' is the last phase"),
        ({"task": "embedded_boolq"}, "data: is missing: 'embedded_boolq' is no phase"),
        ({"task": "embedded_piqa", "data": "x.jsonl"}, "unknown task 'embedded_piqa'"),
    ],
)
def test_what_cannot_be_tried_is_refused_when_the_recipe_is_read(entry, told):
    with pytest.raises(RecipeError, match=told):
        read_recipe(values(**entry))


def test_a_task_of_ones_own_data(tmp_path):
    recipe = read_recipe(values(task="embedded_boolq", data="yes-no.jsonl", learning_rate=1e-5))
    [one] = recipe.evaluate.recovery
    assert one.data[0].source == "yes-no.jsonl"
    assert read_recipe(recipe.resolved()) == recipe
