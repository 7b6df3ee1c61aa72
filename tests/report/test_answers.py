"""Which answers are given: a collapse is told from a loss; no `select` item is read."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from retain.report.analysis import analyse, choose_arms
from retain.report.answers import answer_tables
from retain.report.given import read_given
from retain.report.scores import TaskKey
from tests.report.reading import Reader
from tests.report.synthetic import make_results
from tests.report.test_page import page_of


def kept(folder, rows, metric="acc"):
    """The two files of an evaluation that scored these items."""
    filled = [
        {"task": "t", "num_fewshot": 0, "role": "report", "choice_bytes": [4, 2]} | row
        for row in rows
    ]
    parquet.write_table(pa.Table.from_pylist(filled), folder / "items.parquet")
    score = {"task": "t", "metric": metric, "num_fewshot": 0, "is_main": True, "chance": 0.5}
    (folder / "scores.json").write_text(json.dumps([score, score | {"role": "select"}]))
    return read_given(folder / "items.parquet", folder / "scores.json")[TaskKey("t", metric, 0)]


def row(item, taken, right, *, names=(" no", " yes"), logprobs=(-1.0, -3.0), **more):
    return {
        "item": item,
        "prediction": names[taken],
        "target": names[right],
        "answer": right,
        "choice_logprobs": list(logprobs),
        **more,
    }


def test_answers_that_all_items_have_are_told_by_name(tmp_path):
    rows = [row("b", 0, 1), row("a", 0, 0), row("c", 1, 1, role="select")]
    found = kept(tmp_path, rows)
    assert found.names == ("no", "yes")
    assert found.taken.tolist() == [0, 0]  # of "a", then "b"; "c" is not read
    assert found.right.tolist() == [0, 1]
    assert found.nats.tolist() == [-1.0, -3.0]
    assert found.num_bytes.tolist() == [4, 2]


def test_choices_of_each_item_s_own_are_told_by_place(tmp_path):
    rows = [row(str(n), 0, 1, names=(f"wrong {n}", f"right {n}")) for n in range(3)]
    found = kept(tmp_path, rows)
    assert found.names == ()
    assert (found.name(0), found.taken.tolist(), found.right.tolist()) == (
        *("choice 1", [0, 0, 0]),
        [1, 1, 1],
    )


def test_where_length_is_taken_off_the_answer_is_the_likeliest_by_the_byte(tmp_path):
    rows = [row("a", 1, 0, logprobs=(-3.0, -2.0))]  # a byte: -0.75 and -1
    assert kept(tmp_path, rows, "acc_norm").taken.tolist() == [0]


def test_measures_are_those_of_a_literal_count(results):
    found = analyse(results, choose_arms(results)).measures
    for key, given in results.given.items():
        if key.checkpoint.phase_index != 2 or key.task.task != "phase:medicine":
            continue
        mine = {
            one.measure: one
            for one in found
            if (one.arm, one.task) == (key.checkpoint.arm, key.task.task) and one.phase_index == 2
        }
        base = results.given[key._replace(checkpoint=key.checkpoint._replace(phase_index=0))]
        bits = [sum(one.nats) / sum(one.num_bytes) / math.log(2) for one in (base, given)]
        right = mine["right_answer_log_probability"]
        assert right.value == pytest.approx(bits[1])
        assert right.ci_low < right.value < right.ci_high < 0
        change = mine["right_answer_log_probability_change"]
        assert change.value == pytest.approx(bits[1] - bits[0])
        taken = given.taken.tolist()
        share = mine["commonest_answer_share"]
        assert share.value == pytest.approx(max(map(taken.count, taken)) / len(taken))
        assert share.unit == "fraction_of_items"


def collapsed(results, arm, share=1.0):
    """The same run, an arm of which answers one thing to so much of medicine in the end."""

    def changed(key, one):
        if (key.checkpoint.arm, key.checkpoint.phase_index) != (arm, 2) or len(one.names) < 8:
            return one
        num = round(share * len(one.taken))
        return replace(one, taken=np.where(np.arange(len(one.taken)) < num, 3, one.taken))

    return replace(results, given={key: changed(key, one) for key, one in results.given.items()})


def test_a_collapse_is_marked_and_a_loss_is_not(results):
    tables = {}
    for name, run in (("loss", results), ("collapse", collapsed(results, "replay", 0.9))):
        analysis = analyse(run, choose_arms(run))
        tables[name] = {one.task: one for one in answer_tables(analysis.books[0])}
    assert not any(line.is_collapsed for one in tables["loss"].values() for line in one.lines)
    lines = {line.arm and line.arm.name: line for line in tables["collapse"]["medicine"].lines}
    assert [name for name, line in lines.items() if line.is_collapsed] == ["replay"]
    assert lines["replay"].given.startswith("subject 3 9")
    who = [line.who for line in tables["loss"]["medicine"].lines if line.arm is None]
    assert who == ["right answers", "base model", "none, after medicine"]
    page = page_of(collapsed(results, "replay", 0.9))
    assert page.count('<span class="badge">one answer</span>') == 2  # the legend's, and replay's
    assert "subject 3" in "".join(Reader(page).text)


def test_seeds_are_counted_together():
    run = make_results(seeds=(0, 1), num_items=60)
    analysis = analyse(run, choose_arms(run))
    (medicine,) = [one for one in answer_tables(analysis.books[0]) if one.task == "medicine"]
    assert len([line for line in medicine.lines if line.arm]) == 4
    rows = [one for one in analysis.measures if one.measure == "commonest_answer_share"]
    assert {one.seed for one in rows} == {0, 1, None}


def test_the_verdict_says_that_the_arm_to_ship_has_collapsed(results):
    (before,) = analyse(results, choose_arms(results)).verdicts
    assert before.arm == "low_rate"
    assert "collapsed" not in before.breaks
    run = collapsed(results, "low_rate", 0.9)
    (verdict,) = analyse(run, choose_arms(run)).verdicts
    assert re.search(
        r"Its answers to medicine have collapsed: subject 3 9\d\xa0%\.", verdict.breaks
    )
