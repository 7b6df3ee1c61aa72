"""Two sentences that follow from the intervals."""

import math
from dataclasses import replace

from retain.report.analysis import analyse, choose_arms
from retain.report.verdict import moves
from tests.report.synthetic import PHASES, RECIPE, TASKS, make_results, set_task


def verdict_of(results):
    return analyse(results, choose_arms(results)).verdicts[0]


def test_the_lower_rate_is_the_answer_when_no_remedy_beats_it(results):
    verdict = verdict_of(results)
    assert verdict.arm == "low_rate"
    assert verdict.path == "runs/quickstart/models/low_rate-seed0-hindi"
    assert verdict.headline == "Ship “low_rate”"
    assert "of what `none` learnt of hindi" in verdict.ship
    assert "1.063" in verdict.ship
    assert verdict.breaks.startswith("It breaks english 1.085 → 1.178 bits per byte")
    assert "the 2 other tasks show no loss beyond their intervals" in verdict.breaks
    assert verdict.breaks.endswith("Without headroom to show a loss: boolq.")
    assert "The lower rate is the answer." in verdict.why


def test_a_remedy_is_named_when_it_loses_less_beyond_the_paired_interval():
    rows = (1.08, 1.1, (1.32, 1.25, 1.09, 1.22))
    verdict = verdict_of(make_results(tasks=set_task("english_bits_per_byte", rows=rows)))
    assert verdict.arm == "replay"
    assert "lost less than the best plain rate, `low_rate`" in verdict.why


def test_a_remedy_that_only_seems_better_is_not_named():
    """On few items the remedy is chosen on `select`, but its lead is within the interval."""
    tasks = {**set_task("phase:medicine", rows=(0.14, 0.17, (0.55, 0.69, 0.7, 0.66)))}
    english = (1.08, 1.1, (1.32, 1.172, 1.17, 1.22))
    tasks["english_bits_per_byte"] = set_task("english_bits_per_byte", rows=english)[
        "english_bits_per_byte"
    ]
    results = make_results(tasks=tasks, num_items=60)
    verdict = verdict_of(results)
    assert verdict.arm == "low_rate"
    assert "No remedy beats it" in verdict.why


def test_a_remedy_may_win_by_learning_what_no_plain_rate_did():
    rows = (1.75, 1.71, (1.5, 1.55, 1.05, 1.6))
    verdict = verdict_of(make_results(tasks=set_task("phase:hindi", rows=rows)))
    assert verdict.arm == "replay"
    assert "No plain rate learnt nearly as much" in verdict.why


def test_ship_none_when_nothing_was_learnt():
    rows = (1.75, 1.71, (1.8, 1.8, 1.8, 1.8))
    verdict = verdict_of(make_results(tasks=set_task("phase:hindi", rows=rows)))
    assert verdict.arm is None
    assert verdict.headline == "Ship none of these"
    assert verdict.ship.startswith("Ship none of these. There is nothing to choose from")


def test_ship_none_when_what_was_learnt_is_within_its_interval():
    rows = (0.3, 0.3, (0.31, 0.305, 0.3, 0.3))
    only_choice = {
        "phase:medicine": TASKS["phase:medicine"],
        "phase:hindi": ("acc", "fraction", True, 0.25, 0.26, *rows),
    }
    results = make_results(tasks=only_choice, num_items=200)
    verdict = verdict_of(results)
    assert verdict.arm is None


def test_ship_none_when_its_gate_failed(results):
    gate = {"measure": "change_from_base", "task": "english_bits_per_byte", "below": -0.05}
    verdict = verdict_of(replace(results, recipe=RECIPE | {"fail_if": [gate]}))
    assert verdict.arm is None
    assert "`low_rate` would be the one, but a gate of the recipe failed" in verdict.ship


def test_one_run_speaks_of_runs(results):
    caveat = verdict_of(results).caveat
    assert "One training run per arm; training noise unknown" in caveat
    assert "runs, not of methods" in caveat


def test_several_seeds_are_said():
    verdict = verdict_of(make_results(seeds=(0, 1, 2)))
    assert "Means over 3 seeds" in verdict.caveat
    assert "training noise unknown" not in verdict.caveat


def test_nothing_breaks_is_said_with_its_intervals():
    tasks = {
        "phase:medicine": (*TASKS["phase:medicine"][:5], 0.14, 0.73, (0.73,) * 4),
        "phase:hindi": TASKS["phase:hindi"],
    }
    verdict = verdict_of(make_results(tasks=tasks))
    assert verdict.breaks.startswith("It breaks nothing that these items can show: medicine")
    assert "[" in verdict.breaks


def test_a_task_without_items_is_said_to_have_no_interval(results):
    items = {
        key: one for key, one in results.items.items() if key.task.task != "english_bits_per_byte"
    }
    verdict = verdict_of(replace(results, items=items))
    assert "No interval for english." in verdict.breaks


def test_one_phase_is_held_against_the_base_model():
    tasks = {
        name: (*facts[:6], facts[6], (0.0,) * 4)
        for name, facts in TASKS.items()
        if name != "phase:hindi"
    }
    results = make_results(phases=PHASES[:1], tasks=tasks)
    verdict = verdict_of(results)
    assert verdict.arm is not None
    assert "medicine" in verdict.ship
    book = analyse(results, choose_arms(results)).books[0]
    assert {move.since for move in moves(book, "none")} == {"base"}


def test_moves_keep_the_direction_of_the_metric(results):
    book = analyse(results, choose_arms(results)).books[0]
    english = next(m for m in moves(book, "none") if m.key.task == "english_bits_per_byte")
    assert english.after > english.before
    assert english.interval.is_below_zero
    assert "(+0.2" in english.told()
    medicine = next(m for m in moves(book, "none") if m.key.task == "phase:medicine")
    assert medicine.since == "medicine"
    assert not math.isnan(medicine.before)


def test_without_another_candidate_there_is_no_comparison(results):
    arms = results.arms[:1]
    verdict = verdict_of(replace(results, arms=arms, recipe=RECIPE | {"fail_if": []}))
    assert verdict.arm == "none"
    assert "nothing else to choose from" in verdict.why
