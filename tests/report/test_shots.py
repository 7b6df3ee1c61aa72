"""Gains by examples: values from the scores, pairing over shots, and what is left empty."""

from dataclasses import replace

import numpy as np
import pytest

from retain.evaluate.shots import FIRST, Shots
from retain.report.analysis import analyse, choose_arms
from retain.report.page import render
from retain.report.scorebook import ScoreBook
from retain.report.scores import ItemKey
from retain.report.shot_curves import shot_panels
from retain.report.tables import measure_rows
from tests.report.synthetic import ARMS, make_results

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
    assert base.extra_text == ("", "")
    assert none.values[1] > none.values[0]
    row = rows(found, "few_shot_extra_gain")["none", 2]
    assert none.extra == pytest.approx(row.value)
    assert none.sure.low == pytest.approx(row.ci_low)
    assert "at 0" in panel.drawing
    relative = rows(found, "few_shot_relative_gain")
    told = {line.arm.name: line.relative for line in panel.lines if line.arm}
    assert {bool(value) for value, _ in told.values()} == {True, False}  # at chance and above it
    for arm, (value, sure) in told.items():
        figure = relative[arm, 2].value
        assert bool(value) == bool(sure) == (not np.isnan(figure))
        assert not value or value == f"{figure:+.1f}\xa0%"
    page = render(analyse(found, choose_arms(make_results(num_items=80))))
    assert "With examples in the prompt" in page


def test_one_number_of_shots_has_no_such_rows():
    assert not rows(make_results(num_items=40).of_role("report"), "few_shot_gain")


# ---------------------------------------------------------------- other draws, and the control


def with_draws(results, fixes):
    """The run with five examples, and the same in other draws: ``fixes`` by the way they are."""
    found = with_five_shots(results, fixes[FIRST])
    draws = {}
    for shots, fix in fixes.items():
        if shots != FIRST:
            made = with_five_shots(results, fix).items
            draws[shots] = {k: v for k, v in made.items() if k.task.num_fewshot == 5}
    return replace(found, draws=draws)


def always(share):
    """A share of the wrong answers of trained models becomes right with examples."""

    def fix(checkpoint, items):
        if checkpoint.phase_index == 0:
            return items
        draw = np.random.default_rng(3).random(len(items.values))
        return replace(items, values=np.where(draw < share, 1.0, items.values))

    return fix


def test_gains_are_means_over_draws():
    results = make_results(num_items=200, arms=ARMS[:2])
    fixes = {Shots(number): always(share) for number, share in enumerate((0.2, 0.4, 0.6))}
    found = with_draws(results, fixes)
    [panel] = shot_panels(ScoreBook(found, "default"), "s")
    assert panel.num_draws == 3
    alone = [with_five_shots(results, fix) for fix in fixes.values()]
    for measure in ("few_shot_gain", "few_shot_extra_gain", "few_shot_relative_gain"):
        value = rows(found, measure)["none", 2].value
        each = [rows(one, measure)["none", 2].value for one in alone]
        assert value == pytest.approx(np.mean(each), nan_ok=True)
    one = rows(found, "few_shot_extra_gain")["none", 2]
    first = rows(alone[0], "few_shot_extra_gain")["none", 2]
    assert one.ci_high - one.ci_low > 2 * (first.ci_high - first.ci_low)  # draws differ
    each = [rows(it, "few_shot_extra_gain")["none", 2].value for it in alone]
    spread = rows(found, "few_shot_extra_gain_draw_spread")["none", 2].value
    assert spread == pytest.approx(np.std(each, ddof=1))
    assert not rows(alone[0], "few_shot_extra_gain_draw_spread")


def test_the_control_stands_beside_the_headline():
    results = make_results(num_items=200)
    fixes = {FIRST: always(0.5), Shots(0, shuffled=True): always(0.5)}
    form = with_draws(results, fixes)
    both = ("few_shot_extra_gain", "few_shot_extra_gain_shuffled")
    own, control = (rows(form, measure)["none", 2].value for measure in both)
    assert own == control > 0
    assert rows(form, "few_shot_extra_gain_of_answers")["none", 2].value == 0
    content = with_draws(results, fixes | {Shots(0, shuffled=True): always(0.0)})
    apart = rows(content, "few_shot_extra_gain_of_answers")["none", 2]
    assert apart.value == pytest.approx(own)
    assert apart.ci_low > 0
    assert apart.versus == "shuffled"
    assert rows(content, "few_shot_gain_shuffled")["none", 0].value == 0
    [panel] = shot_panels(ScoreBook(content, "default"), "s")
    assert panel.has_control
    assert (panel.lines[1].extra, panel.lines[1].control) == pytest.approx((own, 0))
    page = render(analyse(content, choose_arms(content)))
    assert "the same examples with each other" in page
    assert "draws of examples" not in page


def test_a_select_item_of_another_draw_is_not_read():
    results = make_results(num_items=80)
    draws = {Shots(1): dict(results.items)}
    kept = replace(results, draws=draws).of_role("report").draws[Shots(1)]
    assert all((one.roles == "report").all() for one in kept.values())
