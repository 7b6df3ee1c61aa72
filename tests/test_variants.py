"""Variants that teach some of the phases, under some of the arms, from the recipe to the report."""

import csv
import re
from pathlib import Path

import pytest

from retain import api
from tests.report.reading import Reader
from tests.test_end_to_end import make_project

TRAIN = "max_steps: 2, batch_size: 4, max_length: 64, learning_rate: 1.0e-3, precision: fp32"
RECIPE = f"""
name: apart
model: {{model}}
phases:
  - {{{{name: general, data: test.jsonl, train: {{{{{TRAIN}}}}}}}}}
  - {{{{name: skill, data: skill.jsonl, train: {{{{{TRAIN}}}}}}}}}
  - {{{{name: text, data: text.jsonl, train: {{{{objective: pretrain, {TRAIN}}}}}}}}}
evaluate:
  tasks: [{{{{name: "phase:skill", num_fewshot: [0, 1]}}}}, phases]
  groups: {{{{taught: ["phase:skill", "phase:text"]}}}}
  limit: 8
arms:
  none: []
  replay: [{{{{method: experience_replay, share: 0.2}}}}]
variants:
  instructed: {{{{arms: [none]}}}}
  base: {{{{order: [skill, text], arms: [replay]}}}}
fail_if:
  - {{{{measure: score, task: "phase:text", arms: [replay], below: -1}}}}
  - {{{{measure: score, task: "phase:text", arms: [none], above: 0}}}}
"""
COLUMNS = ("variant", "arm", "phase_index", "task", "measure", "unit", "num_fewshot")


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model_folder):
    """What was planned, and what the run came to."""
    folder = tmp_path_factory.mktemp("apart")
    make_project(folder, tiny_model_folder)
    (folder / "apart.yaml").write_text(RECIPE.format(model=tiny_model_folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RETAIN_CACHE", str(folder / "cache"))
        yield api.plan("apart.yaml"), api.run("apart.yaml")


def rows_of(name):
    with Path("runs/apart", name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_variant_has_its_own_phases_and_arms(run):
    plan, _ = run
    trained = sorted(line.step.name for line in plan.lines if line.step.kind == "train")
    assert trained == ["general", "skill", "skill", "text", "text-replay"]
    found = {(row["variant"], row["arm"], row["phase"]) for row in rows_of("scores.csv")}
    whole, short = ("base", "general", "skill", "text"), ("base", "skill", "text")
    assert found == {
        *(("instructed", "none", phase) for phase in whole),
        *(("base", "replay", phase) for phase in short),
    }


def test_measures_and_gates_are_of_the_arms_that_are_run(run):
    _, result = run
    measured = {(row["variant"], row["arm"]) for row in rows_of("measures.csv")}
    assert measured == {("instructed", "none"), ("base", "replay")}
    assert [told.partition(":")[0] for told in result.failed_gates] == ["none"]
    assert [one.variant for one in result.verdicts] == ["instructed", "base"]


def test_shots_are_of_the_task_that_asks_for_them(run):
    numbers = {}
    for row in rows_of("scores.csv"):
        numbers.setdefault(row["task"], set()).add(row["num_fewshot"])
    assert numbers["phase:skill"] == {"0", "1"}
    assert numbers["phase:general"] == numbers["phase:text"] == {"0"}
    told = [row for row in rows_of("measures.csv") if row["group"] == "taught"]
    places = [tuple(row[name] for name in COLUMNS) for row in told]
    assert len(set(places)) == len(places)
    gained = {row["task"] for row in rows_of("measures.csv") if row["measure"] == "few_shot_gain"}
    assert gained == {"phase:skill"}


def test_an_arm_has_one_colour_in_every_variant(run):
    page = Path("runs/apart/report.html").read_text("utf-8")
    assert Reader(page).faults == []
    marks = [
        line for line in page.split("<li>") if "<b>none</b>" in line or "<b>replay</b>" in line
    ]
    colours = [re.findall(r"arm-\d", line.partition("</li>")[0]) for line in marks]
    assert colours == [["arm-0"], ["arm-1"]]
