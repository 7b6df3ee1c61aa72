"""A judge's verdicts as measures and on the page."""

from dataclasses import replace

import numpy as np
import pytest

from retain.report.analysis import analyse, choose_arms
from retain.report.facts import Judged, Said, Verdicts
from retain.report.judged import judge_part, judged_rows
from retain.report.page import render
from retain.report.scorebook import ScoreBook
from retain.report.scores import Checkpoint
from retain.report.share import OWN, shareable
from tests.report.reading import Reader
from tests.report.synthetic import ARMS, PHASES, make_results

TASK = "phase:medicine"
EVIL = "<script>alert(1)</script>"


def judged(mode, arm, seed, phase_index, values, judge=EVIL):
    return Judged(
        checkpoint=Checkpoint("default", arm, seed, phase_index),
        phase=PHASES[phase_index - 1] if phase_index else "base",
        task=TASK,
        mode=mode,
        judge=judge,
        found={str(n): Verdicts(f"item {n}", one) for n, one in enumerate(values)},
        num_unreadable=1,
        num_cut=0,
        said={str(n): Said(EVIL, f"{EVIL} {n}", EVIL, (f"{EVIL} because",)) for n in range(2)},
    )


def pairs(first, second, alike=0):
    return {"first": first, "second": second, "alike": alike}


def rows(found, measure):
    return {
        (row.arm, row.seed, row.phase_index, row.metric): row
        for row in judged_rows(found)
        if row.measure == measure
    }


WON, LOST, HABIT, ALIKE = pairs(1, -1), pairs(-1, 1), pairs(1, 1), pairs(0, 0, 1)


def test_pairs_become_a_preference_without_the_habit():
    values = [WON] * 12 + [LOST] * 4 + [HABIT] * 4 + [ALIKE] * 5
    found = replace(make_results(num_items=40), judged=(judged("pairwise", "none", 0, 2, values),))
    where = ("none", 0, 2, "judge")
    liked = rows(found, "judge_preference")[where]
    assert liked.value == pytest.approx((12 + (4 + 5) / 2) / 25)
    assert liked.ci_low < liked.value < liked.ci_high
    assert (liked.num_items, liked.versus, liked.task) == (25, "base", TASK)
    assert rows(found, "judge_better")[where].value == 12 / 25
    assert rows(found, "judge_worse")[where].value == 4 / 25
    assert rows(found, "judge_order_agreement")[where].value == 16 / 20
    bias = rows(found, "judge_position_bias")[where]
    assert (bias.value, bias.num_items) == (4 / 20, 20)


def test_few_items_have_no_interval_and_equal_answers_no_habit():
    found = replace(
        make_results(num_items=40), judged=(judged("pairwise", "none", 0, 2, [ALIKE] * 7),)
    )
    liked = rows(found, "judge_preference")["none", 0, 2, "judge"]
    assert liked.value == 0.5
    assert np.isnan(liked.ci_low)
    assert not rows(found, "judge_position_bias")


def test_points_change_on_the_items_that_both_have():
    base = [{"fluency": 3}] * 12
    now = [{"fluency": 3 + number % 2} for number in range(10)]
    several = [
        judged("rubric", "none", seed, phase, values)
        for seed in (0, 1)
        for phase, values in ((0, base), (2, now))
    ]
    found = replace(make_results(num_items=40, seeds=(0, 1)), judged=tuple(several))
    assert rows(found, "judge_points")["none", 0, 0, "fluency"].value == 3
    change = rows(found, "judge_points_change")
    assert change["none", 0, 2, "fluency"].value == 0.5
    assert change["none", 0, 2, "fluency"].num_items == 10
    assert change["none", None, 2, "fluency"].num_seeds == 2
    assert ("none", 0, 0, "fluency") not in change


def test_the_page_names_the_habit_and_runs_nothing():
    several = [judged("pairwise", arm.name, 0, 2, [LOST] + [HABIT] * 20) for arm in ARMS]
    several += [judged("rubric", arm.name, 0, p, [{EVIL: 4}] * 20) for arm in ARMS for p in (0, 2)]
    found = replace(make_results(num_items=40), judged=tuple(several))
    part = judge_part(found, ScoreBook(found.of_role("report"), "default"))
    assert "takes what it is shown first" in part.habit
    assert [line.preferred for line in part.pairs] == ["0.476"] * len(ARMS)
    assert [len(worse) for _, _, worse in part.worse] == [1] * len(ARMS)
    reader = Reader(render(analyse(found, choose_arms(found))))
    assert not reader.live
    assert not reader.faults
    text = " ".join(reader.text)
    assert "What a judge says of the answers" in text
    assert "have no verdict that could be read" in text
    assert f"{EVIL} because" in text


def test_what_is_shared_names_a_judge_only_if_anyone_may_know_it():
    found = make_results(num_items=40)
    for judge, shown in (("gpt-4.1-mini", "gpt-4.1-mini"), ("/home/me/judge", OWN)):
        one = judged("pairwise", "none", 0, 2, [WON] * 9, judge)
        [kept] = shareable(replace(found, judged=(one,)), lambda reference: False).judged
        assert kept.judge == shown
        assert not kept.said
