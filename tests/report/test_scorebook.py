"""Scores with their resamples: pairing, direction, headroom, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest

from retain.errors import DataError
from retain.report.results import Arm
from retain.report.scorebook import ScoreBook, figure, interval, mean_over_seeds
from retain.report.scores import TaskKey
from tests.report.synthetic import ARMS, TASKS, make_results, set_task

PIQA = TaskKey("embedded_piqa", "acc", 0)
ENGLISH = TaskKey("english_bits_per_byte", "bits_per_byte", 0)


@pytest.fixture(scope="module")
def book(results):
    return ScoreBook(results.of_role("report"), "default")


def test_tasks_come_in_the_order_taught_then_as_in_the_groups(book):
    assert [key.task for key in book.tasks] == list(TASKS)


def test_the_figure_is_the_score_and_the_draws_are_around_it(book, results):
    row = next(
        row
        for row in results.scores
        if row.role == "report" and row.key == PIQA and row.phase_index
    )
    sampled_N = book.score(row.arm, 0, row.phase_index, PIQA)
    assert figure(sampled_N) == pytest.approx(row.value)
    low, high = interval(sampled_N)
    assert low < row.value < high
    assert sampled_N[1:].std() == pytest.approx(row.stderr, rel=0.1)


def test_lower_is_better_is_turned_round(book):
    assert figure(book.score("none", 0, 0, ENGLISH)) == pytest.approx(-1.08, abs=0.02)
    assert book.tasks[ENGLISH].oriented_unit == "-bits_per_byte"


def test_checkpoints_are_paired_item_by_item(book):
    apart_N = book.score("none", 0, 2, ENGLISH) - book.score("none", 0, 0, ENGLISH)
    alone = book.score("none", 0, 2, ENGLISH)[1:].std()
    assert apart_N[1:].std() < 0.7 * alone


def test_a_task_that_starts_at_the_majority_class_has_no_headroom(book):
    assert not book.tasks[TaskKey("embedded_boolq", "acc", 0)].has_headroom
    assert book.tasks[PIQA].has_headroom
    assert book.tasks[ENGLISH].has_headroom


def test_headroom_without_items_is_read_off_the_standard_error(results):
    bare = replace(results.of_role("report"), items={})
    book = ScoreBook(bare, "default")
    assert book.tasks[PIQA].has_headroom
    assert not book.tasks[TaskKey("embedded_boolq", "acc", 0)].has_headroom
    assert not interval(book.score("none", 0, 2, PIQA)).known


def test_a_missing_score_is_missing_everywhere(book):
    assert math.isnan(figure(book.score("nobody", 0, 1, PIQA)))
    assert not interval(book.score("none", 7, 1, PIQA)).known


def test_tasks_in_no_group_are_a_group_when_the_recipe_has_none(results):
    book = ScoreBook(replace(results.of_role("report"), groups={}), "default")
    assert list(book.group_keys(0)) == ["other"]
    assert len(book.group_keys(0)["other"]) == 3


def test_the_control_is_none_or_the_first_plain_arm(results):
    renamed = (replace(ARMS[0], name="none@1e-3"), *ARMS[1:])
    results = results.of_role("report")
    assert ScoreBook(replace(results, arms=renamed), "default").control == "none@1e-3"
    assert ScoreBook(replace(results, arms=ARMS[2:]), "default").control is None


def test_arms_swept_one_by_one_meet_the_control_at_the_same_value(results):
    def swept(name, rate):
        key = f"arms.{name}.train.learning_rate"
        arm = Arm(name=f"{name}@{rate}", base_arm=name, swept=((key, rate),))
        return arm if name == "none" else replace(arm, methods=("experience_replay",))

    arms = (swept("none", 3e-4), swept("none", 1e-4), swept("replay", 1e-4), ARMS[3])
    book = ScoreBook(replace(results.of_role("report"), arms=arms), "default")
    assert book.control_of("replay@0.0001") == "none@0.0001"
    assert book.control_of("freeze") == "none@0.0003"  # what is swept first


def test_two_checkpoints_with_other_items_are_refused(results):
    reported = results.of_role("report")
    items = dict(reported.items)
    where = next(key for key in items if key.task == PIQA and key.checkpoint.phase_index == 2)
    one = items[where]
    items[where] = replace(one, hashes=np.array([f"other {h}" for h in one.hashes]))
    with pytest.raises(DataError, match="the same items"):
        ScoreBook(replace(reported, items=items), "default")


def test_items_that_do_not_add_up_to_their_score_are_refused(results):
    reported = results.of_role("report")
    items = dict(reported.items)
    where = next(key for key in items if key.task == PIQA)
    items[where] = replace(items[where], values=1 - items[where].values)
    with pytest.raises(DataError, match="must come without items"):
        ScoreBook(replace(reported, items=items), "default")


def test_the_order_of_items_in_a_file_changes_nothing(results):
    shuffled = {}
    order = np.random.default_rng(0).permutation(400)
    for key, one in results.items.items():
        shuffled[key] = replace(
            one,
            hashes=one.hashes[order],
            roles=one.roles[order],
            groups=one.groups[order],
            values=one.values[order],
            weights=None if one.weights is None else one.weights[order],
        )
    books = [
        ScoreBook(replace(results, items=items).of_role("report"), "default")
        for items in (results.items, shuffled)
    ]
    for key in books[0].tasks:
        np.testing.assert_allclose(*(book.score("replay", 0, 2, key) for book in books), rtol=1e-12)


def test_items_of_one_source_are_drawn_together():
    results = make_results(tasks={"embedded_piqa": TASKS["embedded_piqa"]})
    sources = {
        key: replace(one, groups=np.array([f"source {i // 8}" for i in range(len(one.groups))]))
        for key, one in results.items.items()
    }
    alone = ScoreBook(results.of_role("report"), "default").score("none", 0, 2, PIQA)
    together = ScoreBook(replace(results, items=sources).of_role("report"), "default")
    assert not np.array_equal(alone, together.score("none", 0, 2, PIQA))


def test_a_mean_over_seeds_covers_more_than_items():
    book = ScoreBook(make_results(seeds=(0, 1, 2)).of_role("report"), "default")
    mean_N = book.mean("none", 2, ENGLISH)
    figures = [figure(book.score("none", seed, 2, ENGLISH)) for seed in (0, 1, 2)]
    assert figure(mean_N) == pytest.approx(np.mean(figures))
    one = mean_over_seeds([book.score("none", 0, 2, ENGLISH)], "x")
    np.testing.assert_array_equal(one, book.score("none", 0, 2, ENGLISH))


def test_a_harder_majority_takes_headroom_away():
    tasks = set_task("embedded_piqa", majority=0.66)
    book = ScoreBook(make_results(tasks=tasks).of_role("report"), "default")
    assert not book.tasks[PIQA].has_headroom
