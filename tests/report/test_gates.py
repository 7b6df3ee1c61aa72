"""`fail_if`: what fails, what passes, what cannot be asked."""

from dataclasses import replace

import pytest

from retain.errors import RecipeError
from retain.report.gates import failed_gates
from retain.report.results import Arm
from retain.report.scorebook import ScoreBook
from retain.report.tables import measure_rows
from tests.report.synthetic import make_results

ENGLISH = {"measure": "change_from_base", "task": "english_bits_per_byte"}


@pytest.fixture(scope="module")
def measured(results):
    book = ScoreBook(results.of_role("report"), "default")
    return [book], measure_rows(book)


def test_only_arms_beyond_the_limit_fail(measured):
    failed = failed_gates([ENGLISH | {"below": -0.13}], *measured)
    assert [gate.arm for gate in failed] == ["none", "freeze"]
    assert failed[0].message.startswith("none: change_from_base of english_bits_per_byte is -0.23")


def test_arms_may_be_named(measured):
    assert not failed_gates([ENGLISH | {"below": -0.13, "arms": ["replay"]}], *measured)
    assert failed_gates([ENGLISH | {"below": -0.13, "arms": ["none"]}], *measured)


def test_above_a_group_and_an_earlier_phase(measured):
    gate = {"measure": "forgetting", "group": "phases", "above": 0.1}
    assert [one.arm for one in failed_gates([gate], *measured)] == ["none"]
    early = ENGLISH | {"below": -0.01, "phase": "medicine"}
    assert len(failed_gates([early], *measured)) == 4


def test_what_was_not_measured_does_not_pass(measured):
    gate = {
        "measure": "change_from_base",
        "task": "embedded_nothing",
        "below": -1,
        "arms": ["none"],
    }
    (failed,) = failed_gates([gate], *measured)
    assert failed.message == "none: change_from_base of embedded_nothing was not measured"


def test_headroom_is_of_row_0(measured):
    gate = {"measure": "headroom", "task": "embedded_boolq", "below": 0.0, "arms": ["none"]}
    assert len(failed_gates([gate], *measured)) == 1


def test_a_score_is_read_in_its_own_unit_and_nothing_given_is_nothing_asked(measured):
    gate = {"measure": "score", "task": "english_bits_per_byte", "above": 1.3, "below": None}
    (failed,) = failed_gates([gate | {"group": None, "arms": None}], *measured)
    assert failed.arm == "none"
    assert "above 1.3" in failed.message


def test_without_task_or_group_every_task_counts(measured):
    gate = {"measure": "change_from_base", "below": -0.1, "arms": ["none"]}
    failed = failed_gates([gate], *measured)
    assert [one.message.split(" is ")[0].split(" of ")[1] for one in failed] == [
        "embedded_piqa",
        "english_bits_per_byte",
    ]


def test_arms_of_a_sweep_answer_to_their_name_in_the_recipe(results):
    swept = tuple(
        replace(row, arm={"freeze": "none@1e-3", "none": "none@3e-4"}.get(row.arm, row.arm))
        for row in results.of_role("report").scores
    )
    arms = tuple(Arm(name=name) for name in ("none@3e-4", "none@1e-3"))
    book = ScoreBook(replace(results, scores=swept, items={}, arms=arms), "default")
    failed = failed_gates(
        [ENGLISH | {"below": -0.13, "arms": ["none"]}], [book], measure_rows(book)
    )
    assert [gate.arm for gate in failed] == ["none@3e-4", "none@1e-3"]


def test_with_several_seeds_the_mean_counts():
    book = ScoreBook(make_results(seeds=(0, 1)).of_role("report"), "default")
    failed = failed_gates([ENGLISH | {"below": -0.15}], [book], measure_rows(book))
    assert [gate.arm for gate in failed] == ["none"]


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (ENGLISH | {"below": 0, "arm": "none"}, "Did you mean 'arms'"),
        ({"measure": "forgeting", "task": "x", "below": 0}, "Did you mean 'forgetting'"),
        (ENGLISH, "needs `below` or `above`"),
        (ENGLISH | {"group": "general", "below": 0}, "both `task` and `group`"),
        (ENGLISH | {"below": 0, "arms": ["nun"]}, "Did you mean 'none'"),
    ],
)
def test_a_gate_that_cannot_be_read_is_refused(measured, gate, said):
    with pytest.raises(RecipeError, match=said):
        failed_gates([gate], *measured)


def test_an_arm_that_a_variant_leaves_out_is_passed_over(results):
    variant = replace(results.variants[0], arms=("replay", "freeze"))
    book = ScoreBook(replace(results, variants=(variant,)).of_role("report"), "default")
    whole = ScoreBook(results.of_role("report"), "default")
    gate = ENGLISH | {"below": -0.13, "arms": ["none", "freeze"]}
    failed = failed_gates([gate], [book, whole], measure_rows(whole))
    assert [one.arm for one in failed] == ["freeze", "none", "freeze"]
    with pytest.raises(RecipeError, match="unknown arm 'none'"):
        failed_gates([gate], [book], measure_rows(book))
