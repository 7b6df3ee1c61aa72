"""The README of an exported model: front matter that the hub reads, scores, lineage."""

import csv
import io

import pytest
import yaml

from retain.report.card import scored_card
from retain.report.tables import scores_csv
from retain.train.card import Opening, model_card
from tests.report.synthetic import RECIPE

README = model_card("hindi-low_rate", "org/base", {"steps": 40}, [{"method": "none"}])
POINTER = {
    "arm": "low_rate",
    "seed": 0,
    "phase": "hindi",
    "phase_index": 2,
    "variant": "default",
    "folder": "../x",
}
RESOLVED = RECIPE | {
    "phases": [
        {**phase, "data": [{"source": source}]}
        for phase, source in zip(
            RECIPE["phases"],
            ("embedded:medmcqa-subject", "/home/alice/secret/h.jsonl"),
            strict=True,
        )
    ]
}


@pytest.fixture(scope="module")
def scores(results):
    rows = [row for row in results.scores if row.role == "report"]
    return list(csv.DictReader(io.StringIO(scores_csv(rows))))


def front(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_front_matter_keeps_what_was_there_and_adds_the_scores(scores):
    card = scored_card(README, RESOLVED, POINTER, scores)
    found = front(card)
    assert found["base_model"] == "org/base"
    assert found["tags"] == ["retain"]
    (index,) = found["model-index"]
    assert index["name"] == "quickstart-low_rate"
    by_task = {one["dataset"]["type"]: one["metrics"][0] for one in index["results"]}
    (row,) = [
        row
        for row in scores
        if (row["arm"], row["phase_index"], row["task"]) == ("low_rate", "2", "embedded_piqa")
    ]
    assert by_task["embedded_piqa"]["value"] == float(row["value"])
    assert by_task["embedded_piqa"]["type"] == "acc"
    assert len(by_task) == 5
    assert all(one["task"]["type"] for one in index["results"])


def test_it_says_what_the_model_is_made_from_and_names_no_path(scores):
    card = scored_card(README, RESOLVED, POINTER, scores)
    assert "2. phase `medicine`: sft on `embedded:medmcqa-subject`" in card
    assert "3. phase `hindi`: pretrain on `h.jsonl`" in card
    assert "/home" not in card
    assert "alice" not in card
    assert "from_pretrained" in card


def test_a_variant_has_its_own_model_order_and_data(scores):
    variants = {
        "default": {
            "model": "org/other",
            "order": ["hindi"],
            "phases.hindi.data": "/data/own.jsonl",
        }
    }
    pointer = POINTER | {"phase_index": 1}
    card = scored_card(README, RESOLVED | {"variants": variants}, pointer, scores)
    assert "1. the base model, `org/other`\n2. phase `hindi`: pretrain on `own.jsonl`\n\n" in card
    assert "medicine" not in card.partition("## Made from")[2].partition("## Scores")[0]


def test_each_score_stands_beside_the_base_models(scores):
    card = scored_card(README, RESOLVED, POINTER, scores)
    (line,) = [line for line in card.splitlines() if line.startswith("| piqa | ")]
    values = {
        row["phase_index"]: row["value"]
        for row in scores
        if (row["arm"], row["task"]) == ("low_rate", "embedded_piqa")
    }
    assert f"| {values['0']} | {values['2']} |" in line


def test_a_checkpoint_inside_a_phase_has_its_own_scores_and_its_arms_row_0(scores):
    stop = [
        {**row, "arm": "low_rate@25%", "value": "0.125"}
        for row in scores
        if (row["arm"], row["phase_index"]) == ("low_rate", "2")
    ]
    pointer = POINTER | {"arm": "low_rate@25%"}
    card = scored_card(README, RESOLVED, pointer, [*scores, *stop])
    values = {one["metrics"][0]["value"] for one in front(card)["model-index"][0]["results"]}
    assert values == {0.125}
    assert "stopped after 25% of the last phase" in card
    (line,) = [line for line in card.splitlines() if line.startswith("| piqa | ")]
    assert "|  |" not in line


def test_a_model_that_was_not_scored_still_says_where_it_is_from():
    card = scored_card("", RESOLVED, POINTER, [])
    assert front(card) in (None, {})
    assert "## Made from" in card
    assert "## Scores" not in card


def test_a_model_of_4_bits_is_opened_as_the_one_that_was_scored():
    text = model_card("a", "b", {}, [], Opening("AutoModelForCausalLM", "bfloat16"))
    code = text.partition("```python\n")[2].partition("```")[0]
    compile(code, "card", "exec")
    assert 'bnb_4bit_compute_dtype="bfloat16"' in code
    assert "quantization_config=four_bits" in code
    assert "BitsAndBytes" not in README
