"""Two runs side by side: paired where they can be, refused with a reason where not."""

from dataclasses import replace

import numpy as np
import pytest

from retain.errors import DataError
from retain.measure.statistics import paired_interval
from retain.report.results import Results
from retain.report.runs import Side, compare_runs, comparison_csv
from retain.report.scores import ItemKey
from retain.report.terminal import run_table
from tests.report.synthetic import ARMS, make_results, poisoned, set_task

SHA = {"default": "a" * 64}


def side(results: Results, name="first", models=SHA) -> Side:
    return Side(name=name, results=results.of_role("report"), models=models)


def rows_of(found, task, arm="none"):
    return [row for row in found.rows if (row.task, row.arm) == (task, arm)]


@pytest.fixture(scope="module")
def other():
    """The same recipe with another outcome on one task."""
    facts = make_results(
        tasks=set_task("embedded_piqa", rows=(0.68, 0.67, (0.63, 0.66, 0.57, 0.64)))
    )
    return side(facts, "second")


def test_a_run_equals_itself(results):
    found = compare_runs(side(results), side(results, "second"))
    assert {row.difference for row in found.rows} == {0.0}
    assert found.refused == found.warnings == ()
    assert len(found.rows) == 5 * (1 + len(ARMS))


def test_differences_are_paired_and_have_the_sign_of_first_less_second(results, other):
    found = compare_runs(side(results), other)
    (row,) = rows_of(found, "embedded_piqa")
    items = [
        one.items[key]
        for one in (results.of_role("report"), other.results)
        for key in one.items
        if key.task.task == "embedded_piqa" and key.checkpoint[1:] == ("none", 0, 2)
    ]
    assert row.difference == pytest.approx(items[0].values.mean() - items[1].values.mean())
    assert row.difference < 0
    low, high = paired_interval(items[0].values, items[1].values, np.random.default_rng(0))
    assert (row.ci_low, row.ci_high) == pytest.approx((low, high), abs=0.01)
    assert row.p <= row.p_holm <= 1
    (backwards,) = rows_of(compare_runs(other, side(results)), "embedded_piqa")
    assert backwards.difference == pytest.approx(-row.difference)
    assert backwards.ci_low == pytest.approx(-row.ci_high, abs=0.005)
    assert [one.difference for one in rows_of(found, "embedded_boolq")] == [0.0]


def test_items_of_one_run_alone_are_left_out(results):
    small = make_results(num_items=200)
    found = compare_runs(side(results), side(small, "second"))
    assert {row.num_items for row in found.rows} == {100}


def test_other_items_are_refused_by_task(results):
    items = {
        key: replace(one, hashes=np.array([f"{h}x" for h in one.hashes]))
        if key.task.task == "embedded_piqa"
        else one
        for key, one in results.items.items()
    }
    found = compare_runs(side(results), side(replace(results, items=items), "second"))
    assert not rows_of(found, "embedded_piqa")
    assert rows_of(found, "embedded_boolq")
    assert any(
        "embedded_piqa (acc, 0 shots), none: the two runs share none" in r for r in found.refused
    )


def test_a_task_or_arm_of_one_run_alone_is_told(results):
    less = replace(
        results,
        arms=results.arms[:3],
        scores=tuple(row for row in results.scores if row.task != "embedded_boolq"),
    )
    found = compare_runs(side(results), side(less, "second"))
    assert "Arms of first alone: freeze." in found.refused
    assert "Scored by first alone: embedded_boolq (acc, 0 shots)." in found.refused


def test_another_base_model_is_refused(results):
    with pytest.raises(DataError, match="other weights"):
        compare_runs(side(results), side(results, "second", {"default": "b" * 64}))


def test_no_arm_and_no_seed_in_common_are_refused(results):
    renamed = replace(results, arms=tuple(replace(a, name=f"x{a.name}") for a in results.arms))
    with pytest.raises(DataError, match="no arm in common: first has none, low_rate"):
        compare_runs(side(results), side(renamed, "second"))
    with pytest.raises(DataError, match="none in common, so their runs do not pair"):
        compare_runs(side(results), side(replace(results, seeds=(7,)), "second"))


def test_what_makes_runs_unlike_is_warned_of(results):
    bf16 = replace(results, environment=results.environment | {"precision": "bf16"})
    found = compare_runs(side(results), side(bf16, "second"))
    assert any(
        text.startswith("precision: not known in first, bf16 in second") for text in found.warnings
    )


def test_several_seeds_are_paired_and_widen_the_interval(results):
    seeds = side(make_results(seeds=(0, 1, 2)))
    changed = make_results(
        seeds=(0, 1, 2), tasks=set_task("embedded_piqa", rows=(0.68, 0.67, (0.63, 0.6, 0.6, 0.6)))
    )
    found = compare_runs(seeds, side(changed, "second"))
    (row,) = rows_of(found, "embedded_piqa")
    assert row.num_seeds == 3
    assert row.ci_low < row.difference < row.ci_high


def test_a_score_without_items_has_no_interval(results):
    bare = replace(results, items={})
    found = compare_runs(side(bare), side(bare, "second"))
    assert all(np.isnan(row.ci_low) and np.isnan(row.p) for row in found.rows)
    assert {row.difference for row in found.rows} == {0.0}


def test_nothing_reads_a_select_item(results, other):
    clean = compare_runs(side(results), other)
    assert comparison_csv(compare_runs(side(poisoned(results)), other)) == comparison_csv(clean)


def test_the_table_and_the_file(results, other):
    found = compare_runs(side(results), other)
    text = run_table(found, "first", "second")
    assert "first less second" in text
    assert "p (Holm)" in text
    lines = comparison_csv(found).splitlines()
    assert lines[0].startswith("variant,arm,task,metric,num_fewshot,value,other,difference,ci_low")
    assert len(lines) == 1 + len(found.rows)
    assert all(key.checkpoint for key in results.items if isinstance(key, ItemKey))


def test_a_variant_is_compared_by_the_arms_that_it_has_in_both(results):
    fewer = replace(results, variants=(replace(results.variants[0], arms=("replay", "freeze")),))
    found = compare_runs(side(results), side(fewer, "second"))
    assert {row.arm for row in found.rows} == {"base", "replay", "freeze"}
    assert len(found.rows) == 5 * 3
    [told] = found.refused
    assert told == "Arms of first alone in variant default: none, low_rate."
