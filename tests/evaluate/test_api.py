"""Scoring a model from Python."""

import csv
import sys

import pytest

import retain.evaluate
from retain.errors import ModelError, TaskError
from retain.evaluate.api import Options, evaluate, evaluation


def test_scores_of_a_folder(tiny_model_folder, task_folder, tmp_path):
    rows = evaluate(
        str(tiny_model_folder),
        ["tiny_choices", "tiny_rolling"],
        (0, 1),
        6,
        tmp_path / "out",
        include_path=[task_folder],
    )
    assert {(row["task"], row["num_fewshot"]) for row in rows} == {
        ("tiny_choices", 0), ("tiny_choices", 1), ("tiny_rolling", 0),
    }  # fmt: skip
    with (tmp_path / "out" / "scores.csv").open() as stream:
        written = list(csv.DictReader(stream))
    assert [float(row["value"]) for row in written] == [row["value"] for row in rows]
    assert (tmp_path / "out" / "items.parquet").exists()


def test_the_package_is_the_function(sharp_llama, tokenizer, task_folder):
    options = {"tokenizer": tokenizer, "include_path": [task_folder], "limit": 4}
    rows = retain.evaluate(sharp_llama, "tiny_choices", **options)
    assert rows == evaluate(sharp_llama, "tiny_choices", **options)
    assert sys.modules["retain.evaluate"] is retain.evaluate


def test_a_loaded_model_needs_its_tokenizer(sharp_llama):
    with pytest.raises(ModelError, match="LlamaForCausalLM needs its tokenizer"):
        evaluate(sharp_llama, "embedded_piqa")


def test_notes_say_what_was_done(sharp_llama, tokenizer, task_folder):
    found = evaluation(
        sharp_llama, "tiny_rolling", limit=99, tokenizer=tokenizer, include_path=[task_folder],
        max_length=20,
    )  # fmt: skip
    assert found.notes == [
        "tiny_rolling: limit 99 is larger than the data: all 24 items are scored",
        "scored by the tree path",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit 0: must be at least 1"),
        ({"compat": "lmeval"}, "compat 'lmeval': allowed is lm-eval"),
        ({"num_fewshot": ()}, "give numbers of 0 or more"),
        ({"num_fewshot": (0, -1)}, "give numbers of 0 or more"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(TaskError, match=message):
        Options(**options)
