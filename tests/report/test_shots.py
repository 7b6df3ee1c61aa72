"""Gains by examples: values from the scores, pairing over shots, and what is left empty."""

from dataclasses import replace

import numpy as np
import pytest

from retain.report.analysis import analyse, choose_arms
from retain.report.page import render
from retain.report.scorebook import ScoreBook
from retain.report.scores import ItemKey
from retain.report.shot_curves import shot_panels
from retain.report.tables import measure_rows
from tests.report.synthetic import make_results

TASK = "embedded_piqa"


def with_five_shots(results, fix=None):
    """The same run, whose task was asked with five examples too; ``fix`` gives the new items."""
    items, scores = dict(results.items), list(results.scores)
    for key, one in results.items.items():
        if key.task.task == TASK:
            new = one if fix is None else fix(key.checkpoint, one)
            items[ItemKey(key.checkpoint, key.task._replace(num_fewshot=5))] = new
            for row in results.scores:
                if row.checkpoint == key.checkpoint and row.key == key.task:
                    value = float(new.of_role(row.role).values.mean())
                    scores.append(replace(row, num_fewshot=5, value=value))
    return replace(results, items=items, scores=tuple(scores)).of_role("report")


def rows(results, measure):
    book = ScoreBook(results, "default")
    found = [row for row in measure_rows(book) if row.measure == measure]
    return {(row.arm, row.phase_index): row for row in found}


def revived(checkpoint, items):
    """After training, a third of the items that were wrong are right with examples."""
    if checkpoint.phase_index == 0:
        return items
    draw = np.random.default_rng(1).random(len(items.values))
    return replace(items, values=np.where(draw < 1 / 3, 1.0, items.values))


def test_where_examples_change_nothing_every_gain_is_0_without_width():
    found = with_five_shots(make_results(num_items=80))
    for measure in ("few_shot_gain", "few_shot_extra_gain"):
        for row in rows(found, measure).values():
            assert (row.value, row.ci_low, row.ci_high, row.unit) == (0, 0, 0, "points")
            assert (row.task, row.num_fewshot) == (TASK, 5)


def test_the_extra_gain_is_the_difference_of_four_scores():
    found = with_five_shots(make_results(num_items=80), revived)
    value = {
        (row.arm, row.phase_index, row.num_fewshot): row.value
        for row in found.scores
        if row.task == TASK
    }
    extra = rows(found, "few_shot_extra_gain")
    for (arm, phase), row in extra.items():
        gain = value[arm, phase, 5] - value[arm, phase, 0]
        before = value[arm, 0, 5] - value[arm, 0, 0]
        assert row.value == pytest.approx(100 * (gain - before))
        assert 0 <= row.ci_low < row.value < row.ci_high
        assert row.versus == "base"
    relative = rows(found, "few_shot_relative_gain")["none", 2]
    zero = value["none", 2, 0]
    assert np.isnan(relative.value) or relative.value == pytest.approx(
        100 * (value["none", 2, 5] - zero) / zero
    )
    assert relative.unit == "percent"


def test_a_task_at_chance_has_no_relative_gain():
    low = make_results(
        num_items=80,
        tasks={TASK: ("acc", "fraction", True, 0.5, 0.51, 0.5, 0.5, (0.5,) * 4)},
    )
    found = rows(with_five_shots(low, revived), "few_shot_relative_gain")
    assert np.isnan([row.value for row in found.values()]).all()


def test_several_seeds_have_their_mean_too():
    found = with_five_shots(make_results(num_items=80, seeds=(0, 1)), revived)
    lines = [
        row
        for row in measure_rows(ScoreBook(found, "default"))
        if row.measure == "few_shot_extra_gain" and (row.arm, row.phase_index) == ("none", 2)
    ]
    assert [row.seed for row in lines] == [0, 1, None]
    assert lines[2].value == pytest.approx((lines[0].value + lines[1].value) / 2)


def test_unlike_items_have_a_gain_and_no_interval():
    def cut(checkpoint, items):
        kept = slice(0, 60)
        return replace(
            items,
            hashes=items.hashes[kept],
            roles=items.roles[kept],
            groups=items.groups[kept],
            values=items.values[kept],
        )

    found = rows(with_five_shots(make_results(num_items=80), cut), "few_shot_extra_gain")
    assert not np.isnan([row.value for row in found.values()]).any()
    assert np.isnan([row.ci_low for row in found.values()]).all()


def test_the_page_draws_a_curve_for_each_such_task():
    found = with_five_shots(make_results(num_items=80), revived)
    book = ScoreBook(found, "default")
    [panel] = shot_panels(book, "s")
    assert panel.shots == [0, 5]
    base, none, *_ = panel.lines
    assert base.arm is None
    assert base.extra_text == ""
    assert none.values[1] > none.values[0]
    row = rows(found, "few_shot_extra_gain")["none", 2]
    assert none.extra == pytest.approx(row.value / 100)
    assert none.sure.low == pytest.approx(row.ci_low / 100)
    assert "at 0" in panel.drawing
    page = render(analyse(found, choose_arms(make_results(num_items=80))))
    assert "With examples in the prompt" in page


def test_one_number_of_shots_has_no_such_rows():
    assert not rows(make_results(num_items=40).of_role("report"), "few_shot_gain")
