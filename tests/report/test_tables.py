"""scores.csv and measures.csv: columns, figures, empty cells, equal bytes."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from retain.report.results import Arm
from retain.report.scorebook import ScoreBook
from retain.report.scores import Checkpoint, ItemKey, TaskKey
from retain.report.tables import (
    MEASURE_COLUMNS,
    SCORE_COLUMNS,
    cell,
    measure_rows,
    measures_csv,
    scores_csv,
)
from tests.report.synthetic import ARMS, PHASES, TASKS, make_results


def rows_of(results):
    book = ScoreBook(results.of_role("report"), "default")
    return measure_rows(book)


@pytest.fixture(scope="module")
def rows(results):
    return rows_of(results)


def only(rows, **wanted):
    found = [r for r in rows if all(getattr(r, name) == value for name, value in wanted.items())]
    assert len(found) == 1, f"{len(found)} rows for {wanted}"
    return found[0]


def test_columns_are_those_of_the_design():
    assert ",".join(SCORE_COLUMNS) == (
        "variant,arm,seed,phase_index,phase,task,metric,num_fewshot,value,stderr,num_items,"
        "higher_is_better,is_main"
    )
    assert ",".join(MEASURE_COLUMNS) == (
        "variant,arm,seed,phase_index,phase,group,task,metric,num_fewshot,measure,value,unit,"
        "ci_low,ci_high,num_items,num_seeds,versus,"
        "items_right_to_wrong,items_wrong_to_right,mcnemar_p"
    )


def test_scores_read_back(results):
    reported = results.of_role("report")
    read = list(csv.DictReader(io.StringIO(scores_csv(reported.scores))))
    assert len(read) == len(reported.scores)
    for line, row in zip(read, reported.scores, strict=True):
        assert float(line["value"]) == pytest.approx(row.value, rel=1e-5)
        assert line["is_main"] == "true"
    assert {line["phase"] for line in read if line["phase_index"] == "0"} == {"base"}


def test_no_line_is_told_twice(rows):
    lines = [tuple(vars(row).values()) for row in rows]
    keys = [(*line[:10], line[11], line[16]) for line in lines]
    assert len(keys) == len(set(keys))


def test_two_runs_write_equal_bytes(rows):
    assert measures_csv(rows) == measures_csv(rows_of(make_results()))


def test_change_from_base_is_the_difference_of_two_scores(rows, results):
    row = only(rows, arm="none", phase_index=2, task="embedded_piqa", measure="change_from_base")
    scores = {
        s.phase_index: s.value
        for s in results.scores
        if s.role == "report" and s.arm == "none" and s.task == "embedded_piqa"
    }
    assert row.value == pytest.approx(scores[2] - scores[0])
    assert row.ci_low < row.value < row.ci_high
    assert (row.num_items, row.num_seeds, row.versus) == (200, 1, "base")


def test_bits_per_byte_lost_is_negative_and_has_a_group_of_its_own(rows):
    task = only(
        rows,
        arm="none",
        phase_index=2,
        task="english_bits_per_byte",
        measure="change_from_base",
    )
    assert task.value < 0
    assert task.unit == "-bits_per_byte"
    means = [
        row
        for row in rows
        if (row.arm, row.phase_index, row.group, row.task, row.measure)
        == ("none", 2, "general", "", "change_from_base")
    ]
    assert {row.unit for row in means} == {"fraction", "-bits_per_byte"}


def test_tasks_without_headroom_are_left_out_of_means(rows):
    mean = only(
        rows,
        arm="none",
        phase_index=2,
        group="general",
        task="",
        measure="change_from_base",
        unit="fraction",
    )
    piqa = only(rows, arm="none", phase_index=2, task="embedded_piqa", measure="change_from_base")
    assert mean.value == pytest.approx(piqa.value)
    assert mean.num_items == piqa.num_items
    headroom = only(rows, arm="none", task="embedded_boolq", measure="headroom")
    assert headroom.ci_low <= 0


def test_learnt_is_one_for_the_control_and_less_for_a_slower_arm(rows):
    found = {
        row.arm: row.value for row in rows if row.measure == "learnt" and row.task == "phase:hindi"
    }
    assert found["none"] == 1.0
    assert found["freeze"] < found["low_rate"] < 1.0


def test_a_loss_is_avoided_as_far_as_the_arm_is_nearer_the_base_model(rows):
    found = [row for row in rows if row.measure == "loss_avoided" and not math.isnan(row.value)]
    assert found
    for row in found:
        place = {"task": row.task, "metric": row.metric, "phase_index": row.phase_index}
        arm = only(rows, arm=row.arm, measure="change_from_base", **place)
        control = only(rows, arm="none", measure="change_from_base", **place)
        assert control.ci_high < 0, "only where the control lost beyond its interval"
        assert row.value == pytest.approx(1 - arm.value / control.value)
        assert row.ci_low <= row.value <= row.ci_high
    assert not [row for row in found if row.task == "phase:hindi"], "a gain is no loss"


def test_chance_and_majority_stand_beside_every_accuracy(rows, results):
    tasks = {row.task for row in results.scores if row.unit == "fraction"}
    for measure in ("chance", "majority"):
        assert {row.task for row in rows if row.measure == measure} == tasks


def test_fg_is_the_mean_over_all_phases(rows):
    parts = {
        row.phase_index: row.value
        for row in rows
        if (row.arm, row.task, row.measure) == ("none", "embedded_piqa", "change_from_base")
    }
    base = 0.68
    fg = only(rows, arm="none", task="embedded_piqa", measure="fg")
    last = only(rows, arm="none", task="embedded_piqa", measure="fg_last_phase")
    assert fg.value == pytest.approx(-(parts[1] + parts[2]) / 2 / base, abs=1e-6)
    assert last.value == pytest.approx(-parts[2] / base, abs=1e-6)
    adjusted = only(rows, arm="none", task="embedded_piqa", measure="fg_chance_adjusted_last_phase")
    assert adjusted.value == pytest.approx(-parts[2] / (base - 0.5), abs=1e-6)


def test_flips_add_up_to_the_change(rows):
    for task, versus in (("embedded_piqa", "base"), ("phase:medicine", "just_learnt")):
        lost, gained = (
            only(rows, arm="none", phase_index=2, task=task, measure=name)
            for name in ("right_to_wrong", "wrong_to_right")
        )
        assert lost.versus == versus
        assert lost.ci_low <= lost.value <= lost.ci_high
        if versus == "base":
            change = only(rows, arm="none", phase_index=2, task=task, measure="change_from_base")
            assert gained.value - lost.value == pytest.approx(change.value)


def test_one_phase_has_no_measures_of_the_past():
    tasks = {name: facts for name, facts in TASKS.items() if name != "phase:hindi"}
    rows = rows_of(make_results(phases=PHASES[:1], tasks=tasks))
    measures = {row.measure for row in rows}
    assert not {"forgetting", "backward_transfer", "forward_transfer"} & measures
    assert {"change_from_base", "fg", "average_score", "learning_score", "learnt"} <= measures


def test_an_arm_scored_at_the_last_row_alone_has_empty_cells(results):
    joint = Arm(name="joint", methods=("joint",))
    arms = (*ARMS[:3], joint)
    renamed = make_results(arms=arms)
    kept = tuple(row for row in renamed.scores if row.arm != "joint" or row.phase_index in (0, 2))
    rows = rows_of(replace(renamed, scores=kept))
    missing = only(rows, arm="joint", task="phase:medicine", measure="forgetting")
    assert math.isnan(missing.value)
    assert "nan" not in measures_csv(rows)
    text = measures_csv([missing])
    assert ",forgetting,,fraction,,," in text
    found = only(rows, arm="joint", phase_index=2, task="phase:hindi", measure="learnt")
    assert not math.isnan(found.value)


def test_several_seeds_give_a_mean_an_interval_and_a_spread():
    results = make_results(seeds=(0, 1, 2))
    rows = rows_of(results)
    wanted = {"arm": "none", "phase_index": 2, "task": "english_bits_per_byte"}
    each = [only(rows, seed=s, measure="change_from_base", **wanted).value for s in (0, 1, 2)]
    mean = only(rows, seed=None, measure="change_from_base", **wanted)
    spread = only(rows, seed=None, measure="change_from_base_seed_spread", **wanted)
    assert mean.value == pytest.approx(sum(each) / 3)
    assert mean.num_seeds == 3
    assert spread.value > 0
    assert spread.value == pytest.approx(
        math.sqrt(sum((value - mean.value) ** 2 for value in each) / 2)
    )
    one = only(rows, seed=0, measure="change_from_base", **wanted)
    assert mean.ci_high - mean.ci_low > one.ci_high - one.ci_low


def test_a_cell_never_holds_nan():
    assert cell(math.nan) == ""
    assert cell(float("1e-300")) == "1e-300"


def test_mcnemar_stands_where_two_checkpoints_are_compared_on_right_or_wrong_items(results, rows):
    def at(arm, row, task="embedded_piqa"):
        key = ItemKey(Checkpoint("default", arm, 0, row), TaskKey(task, TASKS[task][0], 0))
        return results.items[key].of_role("report").values

    pairs = {
        ("change_from_base", "base"): (at("replay", 0), at("replay", 2)),
        ("difference", "none"): (at("none", 2), at("replay", 2)),
        ("right_to_wrong", "base"): (at("replay", 0), at("replay", 2)),
    }
    of_task = {"arm": "replay", "phase_index": 2, "num_fewshot": 0}
    for (measure, versus), (before, after) in pairs.items():
        row = only(rows, task="embedded_piqa", measure=measure, versus=versus, **of_task)
        lost, gained = int((before > after).sum()), int((before < after).sum())
        assert (row.items_right_to_wrong, row.items_wrong_to_right) == (lost, gained)
        assert row.mcnemar_p == pytest.approx(binomtest(lost, lost + gained).pvalue)
    learnt = only(rows, task="phase:medicine", measure="right_to_wrong", **of_task)
    before, after = at("replay", 1, "phase:medicine"), at("replay", 2, "phase:medicine")
    assert learnt.versus == "just_learnt"
    assert learnt.items_right_to_wrong == (before > after).sum()
    bits = only(rows, task="english_bits_per_byte", measure="change_from_base", **of_task)
    assert bits.items_right_to_wrong is None
    assert math.isnan(bits.mcnemar_p)


def test_mcnemar_is_of_one_seed_and_of_items_that_stand_alone(results):
    seeds = rows_of(make_results(seeds=(0, 1)))
    means = [row for row in seeds if row.seed is None]
    assert means
    assert all(row.items_right_to_wrong is None for row in means)
    shared = {
        key: replace(one, groups=np.array([name[:1] for name in one.groups]))
        for key, one in results.items.items()
    }
    row = only(
        rows_of(replace(results, items=shared)),
        arm="none", phase_index=2, task="embedded_piqa", measure="change_from_base",
    )  # fmt: skip
    assert row.items_right_to_wrong > 0
    assert math.isnan(row.mcnemar_p)
