"""Questions that turned: the right ones, the worst first, and never one of the `select` items."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from retain.report.analysis import analyse, choose_arms
from retain.report.facts import Answer, Question
from retain.report.questions import MOST_SHOWN, arm_flips
from retain.report.scores import TaskKey
from retain.report.texts import MOST_CHARACTERS, read_texts
from tests.report.synthetic import make_results


@pytest.fixture(scope="module")
def analysis(results):
    return analyse(results, choose_arms(results))


@pytest.fixture(scope="module")
def found(analysis):
    return arm_flips(analysis, analysis.books[0])


def test_the_worst_come_first_and_all_of_them_turned(found, results):
    for one in found:
        assert 0 < len(one.worst) <= MOST_SHOWN
        falls = []
        for turned in one.worst:
            before, after = (
                float(x.replace("\N{MINUS SIGN}", "-")) for x in turned.fall.split(" → ")
            )
            falls.append(before - after)
            assert before > 0 > after
            assert turned.before == turned.target != turned.after
        assert falls == sorted(falls, reverse=True)


def test_counts_are_those_of_the_measures(analysis, found):
    rows = {
        (row.arm, row.task, row.measure): row.value
        for row in analysis.measures
        if row.phase_index == 2
    }
    for one in found:
        for count in one.counts:
            if count.task == "piqa, accuracy":
                lost = rows[one.arm.name, "embedded_piqa", "right_to_wrong"]
                assert count.right_to_wrong / count.num_items == pytest.approx(lost)
                assert count.since == "base model"
            if count.task == "medicine, accuracy":
                assert count.since == "after medicine"


def test_where_items_share_a_source_mcnemar_is_not_told(results):
    pairs = {
        key: replace(one, groups=np.array([name[:1] for name in one.hashes]))
        for key, one in results.items.items()
    }
    shared = analyse(replace(results, items=pairs), choose_arms(results))
    counts = [count for one in arm_flips(shared, shared.books[0]) for count in one.counts]
    assert counts
    assert {count.p for count in counts} == {""}


def test_without_texts_the_counts_stand_alone():
    bare = replace(make_results(num_items=60), questions={}, answers={})
    analysis = analyse(bare, choose_arms(bare))
    found = arm_flips(analysis, analysis.books[0])
    assert all(one.counts and not one.worst for one in found)


def write_step(folder, metric="acc"):
    rows = [
        {
            "item": f"{role}{n}",
            "role": role,
            "num_fewshot": shots,
            "prompt": "x" * 600 + f" {role} question {n}?",
            "target": "a",
            "prediction": "a" if n else "b",
            "answer": 0,
            "choice_logprobs": [-1.0, -2.5, -2.0],
            "choice_bytes": [1, 5, 2],
        }
        for role in ("report", "select")
        for n in range(3)
        for shots in (0, 2)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    scores = [
        {"task": "t", "metric": name, "num_fewshot": 0, "is_main": main, "aggregation": "mean"}
        for name, main in ((metric, True), ("other", False))
    ]
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder / "items.parquet", folder / "scores.json"


def test_texts_are_of_report_items_of_the_main_metric_alone(tmp_path):
    ((key, (questions, answers)),) = read_texts(*write_step(tmp_path)).items()
    assert key == TaskKey("t", "acc", 0)
    assert set(questions) == set(answers) == {"report0", "report1", "report2"}
    assert questions["report0"].prompt.endswith(" report question 0?")
    assert len(questions["report0"].prompt) == MOST_CHARACTERS + 1
    assert questions["report0"] == Question(questions["report0"].prompt, "a")
    assert answers["report0"] == Answer("b", 1.0)


def test_a_metric_by_length_has_its_margin_by_the_byte_and_no_answer(tmp_path):
    ((_, (_, answers)),) = read_texts(*write_step(tmp_path, "acc_norm")).items()
    assert answers["report1"] == Answer("", pytest.approx(-1.0 + 0.5))
