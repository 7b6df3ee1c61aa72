"""Two sentences that follow from the intervals."""

import math
from dataclasses import replace

import numpy as np

from retain.report.analysis import analyse, choose_arms
from retain.report.choice import Rule
from retain.report.comparisons import comparison_lines
from retain.report.heat import heat_maps
from retain.report.overview import measure_lines
from retain.report.page import render
from retain.report.planes import panels
from retain.report.scorebook import ScoreBook
from retain.report.scores import TaskKey
from retain.report.tables import at_fewest_shots, measure_rows
from retain.report.verdict import judge, moves
from tests.report.synthetic import ARMS, PHASES, RECIPE, TASKS, make_results, set_task


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


def test_a_remedy_that_does_nothing_is_not_compared():
    """It learns next to nothing and loses next to nothing: no remedy at all."""
    tasks = set_task("phase:hindi", rows=(1.75, 1.71, (1.03, 1.06, 1.65, 1.68)))
    english = set_task("english_bits_per_byte", rows=(1.08, 1.1, (1.32, 1.3, 1.09, 1.1)))
    tasks["english_bits_per_byte"] = english["english_bits_per_byte"]
    results = make_results(tasks=tasks)
    (choice,) = choose_arms(results)
    assert choice.remedy is None
    verdict = verdict_of(results)
    assert verdict.arm == "low_rate"
    assert "No remedy learnt enough of hindi" in verdict.why
    assert "nearly equal" not in verdict.why


def test_a_remedy_must_have_learnt_nearly_as_much_on_report_items_too():
    """Eligible on `select` by whatever chance; on `report` items it learnt clearly less."""
    rows = (1.75, 1.71, (1.03, 1.06, 1.65, 1.22))
    tasks = set_task("phase:hindi", rows=rows)
    tasks["english_bits_per_byte"] = (*TASKS["english_bits_per_byte"][:5], 1.08, 1.1,
                                      (1.32, 1.3, 1.09, 1.2))  # fmt: skip
    results = make_results(tasks=tasks)
    (choice,) = choose_arms(results)
    lucky = replace(choice, arm="replay", remedy="replay")
    analysis = analyse(results, [choice])
    verdict = judge(analysis.results, analysis.books[0], lucky, Rule(), ())
    assert verdict.arm == "low_rate"
    assert (
        "`replay`, the best remedy on `select` items, learnt clearly less than 0.9" in verdict.why
    )


ANSWERED = ("phase:medicine", "embedded_boolq", "embedded_piqa")


def at_five_shots(results):
    """What `num_fewshot: [5]` gives: answers at 5 shots, texts at 0 alone."""

    def moved(key):
        return key._replace(num_fewshot=5) if key.task in ANSWERED else key

    return replace(
        results,
        scores=tuple(
            replace(row, num_fewshot=moved(row.key).num_fewshot) for row in results.scores
        ),
        items={key._replace(task=moved(key.task)): one for key, one in results.items.items()},
        given={key._replace(task=moved(key.task)): one for key, one in results.given.items()},
    )


def test_every_task_is_read_at_its_own_fewest_shots(results):
    """The same run at other shots gives the same verdict, gates, heat map and measures."""
    gate = {"measure": "change_from_base", "task": "embedded_piqa", "below": -0.06}
    group = {"measure": "forgetting", "group": "phases", "above": 0.1}
    base = replace(results, recipe=RECIPE | {"fail_if": [gate, group]})
    five = at_five_shots(base)
    first, second = (analyse(one, choose_arms(one)) for one in (base, five))
    shape = [
        [
            (r.arm, r.phase_index, r.group, r.task, r.measure, r.unit)
            for r in at_fewest_shots(one.measures)
        ]
        for one in (first, second)
    ]
    assert sorted(shape[0]) == sorted(shape[1])
    assert len(second.measures) == len(at_fewest_shots(second.measures))
    assert [one.arm for one in first.failed] == [one.arm for one in second.failed] != []
    assert all("not measured" not in one.message for one in second.failed)
    book = second.books[0]
    assert {move.key.task for move in moves(book, "none")} == {
        *("phase:medicine", "embedded_piqa", "english_bits_per_byte")
    }
    assert len(heat_maps(book)[0].columns) == len(TASKS)
    assert [panel.title for panel in panels(book)] == [
        panel.title for panel in panels(first.books[0])
    ]
    assert len(measure_lines(first, first.books[0])) == len(measure_lines(second, book))
    assert second.verdicts[0].arm == first.verdicts[0].arm


def test_one_corpus_metric_does_not_hide_what_the_rest_of_the_group_lost(results):
    items = {key: one for key, one in results.items.items() if key.task.task != "embedded_piqa"}
    verdict = verdict_of(replace(results, items=items))
    assert "Nothing that was scored" not in verdict.why
    assert "mean relative loss" in verdict.why
    assert "difference +" in verdict.why
    assert "No interval for piqa." in verdict.breaks


def test_when_no_loss_has_an_interval_the_tasks_are_named(results):
    items = {key: one for key, one in results.items.items() if key.task.task == "phase:hindi"}
    verdict = verdict_of(replace(results, items=items))
    assert "Nothing that was scored" not in verdict.why
    assert "cannot be compared: no interval for" in verdict.why
    assert "english (no items)" in verdict.why


def in_books(results, task, num_books):
    """The items of a task spread over this many source items."""
    books = np.array([f"book {place}" for place in range(num_books)])
    items = {
        key: replace(one, groups=books[np.arange(len(one.hashes)) // 2 % num_books])
        if key.task.task == task
        else one
        for key, one in results.items.items()
    }
    return replace(results, items=items)


def test_few_source_items_give_no_interval(results):
    few = in_books(results, "english_bits_per_byte", 7)
    verdict = verdict_of(few)
    assert "No interval for english (7 source items, fewer than 8)." in verdict.breaks
    assert "no interval: 7 source items" in render(analyse(few, choose_arms(few)))
    enough = verdict_of(in_books(results, "english_bits_per_byte", 8))
    assert "No interval" not in enough.breaks


def test_eight_items_that_stand_alone_keep_their_interval():
    results = make_results(num_items=16)
    book = analyse(results, choose_arms(results)).books[0]
    facts = book.tasks[TaskKey("phase:hindi", "bits_per_byte", 0)]
    assert (facts.num_items, facts.num_sources, facts.has_interval) == (8, 8, True)


def test_a_share_of_stereotypes_is_neither_lost_nor_ranked_by():
    """From 30 % to 50 % is no loss, though a lower share counts as better in its column."""
    changes = {"metric": "pct_stereotype", "chance": None, "majority": None, "higher": False}
    with_shares = make_results(
        tasks=set_task("embedded_piqa", rows=(0.3, 0.3, (0.5, 0.5, 0.5, 0.5)), **changes)
    )
    book = ScoreBook(with_shares.of_role("report"), "default")
    key = TaskKey("embedded_piqa", "pct_stereotype", 0)
    assert not book.tasks[key].can_show_loss
    assert book.tasks[key].has_headroom
    assert key not in [move.key for move in moves(book, "none")]
    verdict = verdict_of(with_shares)
    assert verdict.breaks.endswith("Neither more nor less is a loss, see their table: piqa.")
    rows = measure_rows(book)
    means = [row for row in rows if row.task == "" and row.group == "general"]
    assert {row.unit for row in means if row.measure == "change_from_base"} == {"-bits_per_byte"}
    lines = comparison_lines(book)
    tones = {cell.tone for line in lines if line.subject == "piqa" for cell in line.cells}
    assert tones == {""}


def test_two_seeds_that_differ_have_too_narrow_intervals_and_three_have_not():
    assert "too narrow" in verdict_of(make_results(seeds=(0, 1))).caveat
    assert "too narrow" not in verdict_of(make_results(seeds=(0, 1, 2))).caveat


def test_intervals_of_few_source_items_are_said_to_be_too_narrow(results):
    assert "source items" not in verdict_of(results).caveat
    caveat = verdict_of(make_results(num_items=40)).caveat  # 20 to report
    assert "medicine (20 source items)" in caveat
    assert "too narrow: with so few, those of 95 % cover 89 % (8) to 93 % (22)" in caveat
    assert "source items" not in verdict_of(make_results(num_items=48)).caveat


def test_with_several_seeds_the_path_is_said_to_be_one_seeds():
    verdict = verdict_of(make_results(seeds=(0, 1)))
    assert f"that of seed {verdict.seed} alone, the best single seed" in verdict.caveat


def test_general_tasks_without_select_items_are_named(results):
    kept = tuple(
        row for row in results.scores if row.role == "report" or row.task.startswith("phase:")
    )
    verdict = verdict_of(replace(results, scores=kept))
    assert "No `select` items of boolq, piqa and english" in verdict.why


def test_in_a_sweep_the_control_has_the_same_swept_values():
    arms = tuple(
        replace(arm, name=f"{arm.name}@{rate:g}", base_arm=arm.name, swept=(("train.rate", rate),))
        for arm in (ARMS[0], ARMS[2])
        for rate in (1e-4, 3e-4)
    )
    arms = (*arms[:3], replace(arms[3], swept=(*arms[3].swept, ("arms.replay.share", 0.1))))
    results = make_results(arms=arms)
    found = analyse(results, choose_arms(results))
    versus = {row.arm: row.versus for row in found.measures if row.measure == "learnt"}
    assert versus == {
        "none@0.0001": "none@0.0001",
        "none@0.0003": "none@0.0003",
        "replay@0.0001": "none@0.0001",
        "replay@0.0003": "none@0.0003",
    }
    apart = {(row.arm, row.versus) for row in found.measures if row.measure == "difference"}
    assert apart == {("replay@0.0001", "none@0.0001"), ("replay@0.0003", "none@0.0003")}
    assert "none at the same swept values" in panels(found.books[0])[0].learnt_label
