"""Arms against the control: differences, p values by Holm, and what could have been seen."""

from dataclasses import replace

import numpy as np
import pytest

from retain.measure.significance import draws_p_value, holm
from retain.measure.statistics import smallest_visible_change
from retain.report.comparisons import compare, comparison_lines
from retain.report.results import Arm
from retain.report.scorebook import ScoreBook
from retain.report.tables import measure_rows
from tests.report.synthetic import ARMS, TASKS, make_results, set_task


def book_of(results):
    return ScoreBook(results.of_role("report"), "default")


@pytest.fixture(scope="module")
def book(results):
    return book_of(results)


def test_every_arm_is_compared_with_the_control_on_every_task(book):
    found = compare(book)
    assert [line[0].key.task for line in found] == list(TASKS)
    for line in found:
        assert [one.arm.name for one in line] == ["low_rate", "replay", "freeze"]
        for one in line:
            apart_N = book.score(one.arm.name, 0, 2, one.key) - book.score("none", 0, 2, one.key)
            assert one.difference == pytest.approx(apart_N[0])
            assert one.p == draws_p_value(apart_N[1:])
            assert one.visible == smallest_visible_change(apart_N[1:])
            assert one.its_interval.low <= one.difference <= one.its_interval.high
        assert [one.p_holm for one in line] == holm(np.array([one.p for one in line])).tolist()


def test_what_is_called_different_is_so_for_all_arms_together(book):
    by_task = {line[0].key.task: line for line in compare(book)}
    english = by_task["english_bits_per_byte"]
    assert all(one.is_different and one.difference > 0 for one in english)  # none lost most
    same = set_task("embedded_piqa", rows=(0.68, 0.67, (0.6, 0.6, 0.6, 0.6)))
    [line] = [one for one in compare(book_of(make_results(tasks=same)))
              if one[0].key.task == "embedded_piqa"]  # fmt: skip
    assert not any(one.is_different for one in line)
    assert all(one.p_holm >= one.p for one in line)


def test_fewer_items_show_larger_differences_only():
    visible = [
        compare(book_of(make_results(num_items=num)))[2][0].visible for num in (100, 400, 1600)
    ]
    assert visible == sorted(visible, reverse=True)
    assert visible[0] / visible[2] == pytest.approx(4, rel=0.4)


def test_eight_sources_say_no_more_than_eight_can():
    """English of `none` is far the worst; p by the bootstrap would be 0.0002."""
    [line] = [one for one in compare(book_of(make_results(num_items=16)))
              if one[0].key.task == "english_bits_per_byte"]  # fmt: skip
    assert [one.p for one in line] == [2.0**-7] * 3
    assert [one.p_holm for one in line] == [3 * 2.0**-7] * 3


def test_too_few_sources_have_no_p_value():
    cells = comparison_lines(book_of(make_results(num_items=8)))[0].cells
    assert {(cell.p, cell.visible, cell.interval) for cell in cells} == {("", "", "")}
    assert all(cell.value for cell in cells)


def test_without_a_control_nothing_is_compared():
    results = make_results(arms=tuple(arm for arm in ARMS if arm.methods), tasks={
        task: (*facts[:7], facts[7][2:]) for task, facts in TASKS.items()
    })  # fmt: skip
    assert compare(book_of(results)) == []


def test_a_swept_arm_is_compared_with_the_control_at_its_own_rate():
    def swept(name, rate):
        arm = Arm(name=f"{name}@{rate}", base_arm=name, swept=(("rate", rate),))
        return replace(arm, methods=("freeze",)) if name == "freeze" else arm

    arms = (swept("none", 1), swept("none", 2), swept("freeze", 1), swept("freeze", 2))
    [first, *_] = compare(book_of(make_results(arms=arms)))
    assert [one.arm.name for one in first] == ["freeze@1", "freeze@2"]


def test_the_comparisons_are_in_measures_csv(book):
    rows = [row for row in measure_rows(book) if row.measure.startswith("difference_p_holm")]
    assert len(rows) == len(TASKS) * 3
    assert {(row.versus, row.unit, row.phase) for row in rows} == {("none", "probability", "hindi")}
    seen = [row for row in measure_rows(book) if row.measure == "smallest_visible_difference"]
    assert {row.unit for row in seen} == {"fraction", "-bits_per_byte"}
    seeds = book_of(make_results(seeds=(0, 1)))
    rows = [row for row in measure_rows(seeds) if row.measure == "difference_p"]
    assert {(row.seed, row.num_seeds) for row in rows} == {(None, 2)}


def test_the_page_shows_them(book):
    [line, *_] = comparison_lines(book)
    assert line.subject == "medicine"
    assert [arm.name for arm, _ in line.arms] == ["low_rate", "replay", "freeze"]
    assert line.cells[0].tone in ("gain-1", "")
    assert line.cells[0].p
