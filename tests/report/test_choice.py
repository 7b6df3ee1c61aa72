"""The rule that chooses an arm, and its words in the recipe."""

import math
from dataclasses import replace

import pytest

from retain.errors import RecipeError
from retain.report.choice import BY_FORGETTING, Rule, choose, parse_rule, standing
from retain.report.results import Arm
from retain.report.scorebook import ScoreBook, figure
from tests.report.synthetic import ARMS, make_results, set_task


def select_book(results):
    return ScoreBook(results.of_role("select"), "default")


def test_the_default_rule_is_the_designs():
    assert parse_rule(None) == Rule(0.9, "least change_from_base")
    assert parse_rule({"learnt": ">=.5 of best", "then": BY_FORGETTING}) == Rule(0.5, BY_FORGETTING)


@pytest.mark.parametrize(
    ("choose_", "said"),
    [
        ({"lernt": ">= 0.9 of best"}, "Did you mean 'learnt'"),
        ({"learnt": "most"}, "write '>= X of best'"),
        ({"learnt": ">= 90 of best"}, "between 0 and 1"),
        ({"then": "least change_from_bas"}, "Did you mean 'least change_from_base'"),
    ],
)
def test_another_rule_is_refused(choose_, said):
    with pytest.raises(RecipeError, match=said):
        parse_rule(choose_)


def test_those_that_learnt_nearly_as_much_are_told_apart_by_what_they_lost(results):
    choice = choose(select_book(results), Rule())
    assert (choice.arm, choice.plain, choice.remedy) == ("low_rate", "low_rate", "replay")
    assert choice.plain_is_equal


def test_an_arm_that_learnt_too_little_is_out_however_little_it_lost(results):
    strict = choose(select_book(results), Rule(learnt_share=0.99))
    assert strict.arm == "none"
    assert strict.remedy is None  # what learnt too little is never the remedy to compare with


def test_forgetting_alone_may_decide(results):
    assert choose(select_book(results), Rule(0.9, BY_FORGETTING)).arm in ("replay", "low_rate")


def test_joint_is_a_reference_and_never_chosen():
    arms = (*ARMS[:3], Arm(name="joint", methods=("joint",)))
    rows = (1.71, (1.03, 1.06, 1.05, 0.5))
    results = make_results(arms=arms, tasks=set_task("phase:hindi", rows=(1.75, *rows)))
    choice = choose(select_book(results), Rule())
    assert choice.arm == "low_rate"
    assert "joint" not in choice.seeds


def test_nothing_learnt_nothing_chosen():
    tasks = set_task("phase:hindi", rows=(1.7, 1.7, (1.9, 1.9, 1.9, 1.9)))
    choice = choose(select_book(make_results(tasks=tasks)), Rule())
    assert choice.arm is None
    assert "learnt" in choice.reason


def test_without_the_new_task_there_is_nothing_to_go_by(results):
    kept = tuple(row for row in results.scores if row.task != "phase:hindi")
    choice = choose(select_book(replace(results, scores=kept)), Rule())
    assert choice.arm is None
    assert "no select items" in choice.reason


def test_with_nothing_to_lose_the_one_that_learnt_most_is_taken():
    only_new = {"phase:hindi": set_task("phase:hindi")["phase:hindi"]}
    results = replace(make_results(tasks=only_new), groups={})
    choice = choose(select_book(results), Rule())
    assert choice.arm == "none"
    assert math.isnan(figure(standing(select_book(results), "none", Rule()).lost))


def test_losses_are_relative_and_units_weigh_alike(results):
    """By hand: mean of piqa's and English's part of row 0, and medicine's of its best."""
    book = select_book(results)
    lost = figure(standing(book, "none", Rule()).lost)
    value = {
        (row.task, row.phase_index): row.value
        for row in results.scores
        if row.role == "select" and row.arm == "none"
    }
    piqa = 1 - value["embedded_piqa", 2] / value["embedded_piqa", 0]
    english = value["english_bits_per_byte", 2] / value["english_bits_per_byte", 0] - 1
    medicine = 1 - value["phase:medicine", 2] / value["phase:medicine", 1]
    assert lost == pytest.approx((piqa + english + medicine) / 3)


def test_the_seed_that_lost_least_is_shipped():
    book = select_book(make_results(seeds=(0, 1, 2)))
    choice = choose(book, Rule())
    assert choice.arm is not None
    assert choice.seeds[choice.arm] in (0, 1, 2)
