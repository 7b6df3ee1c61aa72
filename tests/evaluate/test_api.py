"""Scoring a model from Python."""

import csv
import json
import os
import sys
from shutil import copytree
from types import SimpleNamespace

import pytest

import retain.evaluate
from retain import api, printed
from retain.errors import Interrupted, ModelError, StoreError, TaskError
from retain.evaluate.api import Options, evaluate, evaluation, taken
from retain.evaluate.compare import compare
from retain.evaluate.forward import TreePath
from retain.evaluate.tokens import Encoder
from retain.evaluate.unfinished import UNFINISHED
from retain.steps.lock import LockHeldError
from tests.evaluate.evaluation_models import gpt2


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


def test_a_tokenizer_without_special_tokens_is_told():
    bare = SimpleNamespace(bos_token_id=None, eos_token_id=None)
    with pytest.raises(ModelError, match="neither BOS nor EOS"):
        _ = Encoder(bare).prefix_token_id


def test_the_same_task_at_other_shots_in_one_process(sharp_llama, tokenizer, task_folder):
    """What is kept of a task does not remember the shots it was asked at before."""
    options = {"tokenizer": tokenizer, "include_path": task_folder, "limit": 6}

    def asked(shots, **further):
        rows = evaluate(sharp_llama, "tiny_choices", shots, **options, **further)
        return {row["num_fewshot"] for row in rows}

    for further in ({}, {"compat": "lm-eval"}):
        assert [asked(shots, **further) for shots in (0, 2, (1, 2))] == [{0}, {2}, {1, 2}]
    with pytest.raises(TaskError, match="40 shots asked, its pool has 4"):
        asked(40)


def test_no_tasks_are_refused(sharp_llama, tokenizer):
    with pytest.raises(TaskError, match="no tasks: name at least one"):
        evaluate(sharp_llama, [], tokenizer=tokenizer)


@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_a_place_that_cannot_be_written_is_refused_before_scoring(name, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="results cannot be written there"):
        evaluate("no-such-model", "tiny_choices", output=tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_that_another_evaluation_has_is_refused_before_scoring(tmp_path):
    with (
        taken(tmp_path),
        pytest.raises(LockHeldError, match=f"results in {tmp_path}: process {os.getpid()}"),
    ):
        evaluate("no-such-model", "tiny_choices", output=tmp_path)


def test_the_table_is_not_lost_where_its_files_cannot_be_written(
    tiny_model_folder, task_folder, tmp_path
):
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(StoreError, match=r"(?s)scores\.csv.*tiny_choices +0 +acc \(main\)"):
        api.evaluate(
            str(tiny_model_folder), ["tiny_choices"], limit=4, output=tmp_path,
            include_path=task_folder,
        )  # fmt: skip


def test_a_stopped_evaluation_goes_on_with_its_batches(
    tiny_model_folder, task_folder, tmp_path, monkeypatch
):
    computed, asked, answer = [], [], TreePath.answer

    def counted(path, row):
        computed.append(row)
        return answer(path, row)

    def stop():
        asked.append(0)
        return len(asked) > 4

    def scored(output, **further):
        computed.clear()
        options = {"include_path": [task_folder], "budget_tokens": 64, "precision": "fp32"}
        return evaluate(str(tiny_model_folder), "tiny_choices", output=output, **options, **further)

    monkeypatch.setattr(TreePath, "answer", counted)
    whole, num_whole = scored(tmp_path / "whole"), len(computed)
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        scored(out, stop=stop)
    assert (out / UNFINISHED).is_dir()
    assert scored(out) == whole
    assert len(computed) == num_whole - 4
    assert not (out / UNFINISHED).exists()
    assert scored(out) == whole
    assert len(computed) == num_whole


@pytest.mark.parametrize(("precision", "told"), [("fp32", "float32"), ("bf16", "bf16, weights fl")])
def test_the_precision_is_told(precision, told, tiny_model_folder, task_folder, tmp_path):
    text = api.evaluate(
        str(tiny_model_folder), ["tiny_choices"], limit=4, precision=precision, output=tmp_path,
        include_path=task_folder,
    )  # fmt: skip
    assert f"computed in {told}" in text
    config = json.loads((tmp_path / "lm_eval_0shot.json").read_text("utf-8"))["config"]
    assert config["precision"].startswith(told)


def test_notes_say_what_was_done(sharp_llama, tokenizer, task_folder):
    found = evaluation(
        sharp_llama, "tiny_rolling", limit=99, tokenizer=tokenizer, include_path=[task_folder],
        max_length=20,
    )  # fmt: skip
    assert found.notes == [
        "tiny_rolling: limit 99 is larger than the data: all 24 items are scored",
        "scored by the tree path",
        "computed in float32",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit 0: must be a whole number, at least 1"),
        ({"limit": 2.5}, "limit 2.5: must be a whole number, at least 1"),
        ({"limit": True}, "limit True: must be a whole number, at least 1"),
        ({"compat": "lmeval"}, "compat 'lmeval': allowed is lm-eval"),
        ({"num_fewshot": ()}, "give whole numbers of 0 or more"),
        ({"num_fewshot": (0, -1)}, "give whole numbers of 0 or more"),
        ({"num_fewshot": 1.5}, "num_fewshot 1.5: give whole numbers of 0 or more"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(TaskError, match=message):
        Options(**options)


# ---------------------------------------------------------------- the harness's results file


def test_the_harness_finds_its_own_results(tiny_model_folder, task_folder, tmp_path):
    """What the harness itself computes on the same items stands in our file under the same keys."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    tasks = ["tiny_choices", "tiny_rolling"]
    options = {"include_path": [task_folder], "compat": "lm-eval", "precision": "fp32"}
    evaluate(str(tiny_model_folder), tasks, (1,), 6, tmp_path, **options)
    manager = TaskManager(include_path=str(task_folder), include_defaults=False)
    expected = lm_eval.simple_evaluate(
        model=retain.evaluate.lm(str(tiny_model_folder)), tasks=tasks, task_manager=manager,
        num_fewshot=1, limit=6, bootstrap_iters=0,
    )  # fmt: skip
    found = json.loads((tmp_path / "lm_eval_1shot.json").read_text("utf-8"))
    assert list(found["results"]) == ["tiny_choices"]  # the text takes no shots
    rolling = json.loads((tmp_path / "lm_eval_0shot.json").read_text("utf-8"))
    for task, ours in (("tiny_choices", found), ("tiny_rolling", rolling)):
        for key, value in expected["results"][task].items():
            if "stderr" not in key and isinstance(value, float):
                assert ours["results"][task][key] == pytest.approx(value, abs=1e-6)
        assert ours["higher_is_better"][task] == expected["higher_is_better"][task]
    assert found["n-shot"] == {"tiny_choices": 1}
    assert found["n-samples"]["tiny_choices"]["effective"] == 6


@pytest.mark.parametrize("weighted", [True, False])
def test_a_group_has_the_harnesss_score(weighted, tiny_model_folder, task_folder, tmp_path):
    import lm_eval
    import yaml
    from lm_eval.tasks import TaskManager

    files = tmp_path / "tasks"
    copytree(task_folder, files)
    averaged = [{"metric": "acc", "aggregation": "mean", "weight_by_size": weighted}]
    for name, inside in (("outer", ["inner", "few"]), ("inner", ["tiny_choices", "tiny_letters"])):
        group = {"group": name, "task": inside, "aggregate_metric_list": averaged}
        (files / f"{name}.yaml").write_text(yaml.safe_dump(group))
    few = "include: tiny_choices.yaml\ntask: few\ntest_split: train\nnum_fewshot: 0\n"
    (files / "few.yaml").write_text(few)
    options = {"include_path": files, "compat": "lm-eval", "precision": "fp32"}
    out = tmp_path / "out"
    text = api.evaluate(str(tiny_model_folder), ["outer"], output=out, num_fewshot=1, **options)
    manager = TaskManager(include_path=str(files), include_defaults=False)
    expected = lm_eval.simple_evaluate(
        model=retain.evaluate.lm(str(tiny_model_folder)), tasks=["outer"], task_manager=manager,
        num_fewshot=1,
    )  # fmt: skip
    found = json.loads((out / "lm_eval_1shot.json").read_text("utf-8"))
    assert set(found["groups"]) == {"outer", "inner"} == set(expected["groups"])
    for name in ("outer", "inner"):
        for key in ("acc,none", "acc_stderr,none", "sample_len"):
            assert found["groups"][name][key] == pytest.approx(expected["groups"][name][key])
        assert found["results"][name] == found["groups"][name]
        assert name in text


def test_the_harnesses_own_command_finds_our_model(
    tiny_model_folder, task_folder, monkeypatch, capsys
):
    from lm_eval.api.registry import get_model

    from retain.integrations import lm_eval as plug_in

    arguments = f"pretrained={tiny_model_folder},dtype=float32"
    model = get_model("retain").create_from_arg_string(
        arguments, {"batch_size": 4, "max_batch_size": 8, "device": "cpu"}
    )
    assert isinstance(model, plug_in.RetainModel)
    with pytest.raises(ValueError, match="dtype 'int3': allowed are auto"):
        plug_in.RetainModel(str(tiny_model_folder), dtype="int3")
    with pytest.raises(ValueError, match=r"'max_lenght'\. Did you mean 'max_length'"):
        get_model("retain").create_from_arg_string(f"{arguments},max_lenght=3", {"batch_size": 4})
    for unable in ("revision=main", "peft=a", "load_in_4bit=True"):
        with pytest.raises(ValueError, match=f"unknown argument '{unable.split('=')[0]}'"):
            get_model("retain").create_from_arg_string(f"{arguments},{unable}")
    command = (
        f"lm-eval run --model retain --model_args {arguments} --tasks tiny_choices --limit 4 "
        f"--include_path {task_folder}"
    )
    monkeypatch.setattr("sys.argv", command.split())
    plug_in.main()
    assert "tiny_choices" in capsys.readouterr().out


# ---------------------------------------------------------------- two models


def test_a_model_compared_with_itself_does_not_differ(sharp_llama, tokenizer, task_folder):
    found = evaluation(
        sharp_llama, ["tiny_choices", "tiny_rolling"], tokenizer=tokenizer,
        include_path=[task_folder],
    )  # fmt: skip
    rows = compare(found, found)
    assert {row["metric"] for row in rows} >= {"acc", "bits_per_byte"}
    for row in rows:
        assert row["difference"] == 0
        if row["ci_low"] is not None:
            assert (row["ci_low"], row["ci_high"]) == (0, 0)


def test_a_difference_is_value_minus_other_and_lies_in_its_interval(
    sharp_llama, tokenizer, task_folder
):
    def score(model):
        return evaluation(
            model, ["tiny_choices", "tiny_rolling"], tokenizer=tokenizer, include_path=[task_folder]
        )

    rows = compare(score(sharp_llama), score(gpt2()))
    (row,) = [row for row in rows if row["metric"] == "bits_per_byte"]
    assert row["difference"] == pytest.approx(row["value"] - row["other"])
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert row["num_sources"] <= row["num_items"]


def test_other_items_are_not_compared(sharp_llama, tokenizer, task_folder):
    few, many = (
        evaluation(
            sharp_llama, "tiny_choices", limit=limit, tokenizer=tokenizer,
            include_path=[task_folder],
        )
        for limit in (4, 6)
    )  # fmt: skip
    with pytest.raises(TaskError, match="not scored on the same items"):
        compare(few, many)


def test_a_number_of_the_whole_corpus_has_no_interval_in_the_table():
    row = {"task": "texts", "metric": "word_perplexity", "num_fewshot": 0, "num_items": 3}
    row |= {"value": 1.0, "other": 2.0, "difference": -1.0, "ci_low": None, "ci_high": None}
    table = printed.comparison_table([row | {"is_main": True}], "one", "two")
    expected = "texts 0 word_perplexity (main) 1.0000 2.0000 -1.0000 3"
    assert table.split("\n")[-1].split() == expected.split()
