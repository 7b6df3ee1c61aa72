"""`fail_if`: what fails, what passes, what cannot be asked."""

import pytest

from retain.errors import RecipeError
from retain.report.gates import failed_gates
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


def test_with_several_seeds_the_mean_counts():
    book = ScoreBook(make_results(seeds=(0, 1)).of_role("report"), "default")
    failed = failed_gates([ENGLISH | {"below": -0.15}], [book], measure_rows(book))
    assert [gate.arm for gate in failed] == ["none"]


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (ENGLISH | {"below": 0, "arm": "none"}, "Did you mean 'arms'"),
        ({"measure": "forgeting", "task": "x", "below": 0}, "Did you mean 'forgetting'"),
        (ENGLISH, "either `below` or `above`"),
        (ENGLISH | {"group": "general", "below": 0}, "either `task` or `group`"),
        (ENGLISH | {"below": 0, "arms": ["nun"]}, "Did you mean 'none'"),
    ],
)
def test_a_gate_that_cannot_be_read_is_refused(measured, gate, said):
    with pytest.raises(RecipeError, match=said):
        failed_gates([gate], *measured)
