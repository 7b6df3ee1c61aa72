"""Recovery after a brief retune, as measures and on the page."""

from dataclasses import replace

import numpy as np
import pytest

from retain.errors import DataError
from retain.report.analysis import analyse, choose_arms
from retain.report.facts import Retuned
from retain.report.page import render
from retain.report.recovered import recovered_rows, recovery_lines
from retain.report.scorebook import ScoreBook
from retain.report.scores import ItemKey
from tests.report.synthetic import make_results

TASK = "embedded_piqa"
LOST = {TASK: ("acc", "fraction", True, 0.5, 0.51, 0.8, 0.8, (0.4, 0.8, 0.8, 0.8))}


def of(results, arm, phase_index):
    """Main score and items of a checkpoint on the task."""
    [row] = [
        row
        for row in results.scores
        if (row.task, row.arm, row.phase_index) == (TASK, arm, phase_index)
    ]
    return row, results.items[ItemKey(row.checkpoint, row.key)]


def with_retunes(results, arm, **values):
    """``values`` say what each retune makes of the items of row 0 and of the last row."""
    found = results.of_role("report")
    row, last = of(found, arm, 2)
    _, base = of(found, arm, 0)
    made = []
    for what, mix in values.items():
        items = replace(last, values=mix(base.values, last.values))
        score = replace(row, value=float(items.values.mean()))
        made.append(
            Retuned(
                checkpoint=row.checkpoint,
                phase="hindi",
                reference_index=0,
                what=what,
                max_steps=20,
                score=score,
                items=items,
            )
        )
    return replace(results, retuned=results.retuned + tuple(made))


def value(results, measure, arm="none"):
    [row] = [
        row
        for row in recovered_rows(results.of_role("report"))
        if (row.measure, row.arm) == (measure, arm)
    ]
    return row


def as_before(base, last):
    return base


def as_after(base, last):
    return last


def half(base, last):
    return np.where(np.arange(len(base)) % 2 == 0, base, last)


def test_all_of_a_loss_comes_back():
    found = with_retunes(
        make_results(num_items=300, tasks=LOST),
        "none",
        retuned=as_before,
        base_retuned=as_before,
        placebo=as_after,
    )
    share = value(found, "recovery_share")
    assert (share.value, share.unit, share.versus) == (1, "share_of_loss", "base")
    assert value(found, "recovery_placebo_share").value == 0
    assert value(found, "recovery_taught").value == 0
    loss = value(found, "recovery_loss")
    assert value(found, "recovery_returned").value == loss.value > 0
    assert loss.ci_low > 0


def test_half_of_it_comes_back_and_the_placebo_does_as_much():
    retunes = {"retuned": half, "base_retuned": as_before, "placebo": half}
    found = with_retunes(make_results(num_items=600, tasks=LOST), "none", **retunes)
    share = value(found, "recovery_share")
    assert share.value == pytest.approx(0.5, abs=0.15)
    assert share.ci_low < share.value < share.ci_high
    assert value(found, "recovery_placebo_share").value == share.value
    [line] = recovery_lines(found.of_role("report"), ScoreBook(found.of_role("report"), "default"))
    assert line.since == "the base model"
    assert line.tone == "gain-1"
    page = render(analyse(found, choose_arms(found)))
    assert "Does a brief retune bring it back" in page


def test_a_loss_within_its_interval_has_no_share():
    retunes = dict.fromkeys(("retuned", "base_retuned", "placebo"), as_before)
    found = with_retunes(make_results(num_items=300, tasks=LOST), "replay", **retunes)
    assert np.isnan(value(found, "recovery_share", "replay").value)
    assert not np.isnan(value(found, "recovery_returned", "replay").value)


def test_other_items_are_refused():
    retunes = dict.fromkeys(("retuned", "base_retuned", "placebo"), as_before)
    found = with_retunes(make_results(num_items=60, tasks=LOST), "none", **retunes)
    first, *others = found.retuned
    cut = replace(first, items=replace(first.items, hashes=first.items.hashes[::-1]))
    with pytest.raises(DataError, match="other items than the one it came from"):
        value(replace(found, retuned=(cut, *others)), "recovery_share")


def test_a_number_of_the_whole_corpus_has_no_interval_and_no_share():
    retunes = dict.fromkeys(("retuned", "base_retuned", "placebo"), as_before)
    found = with_retunes(make_results(num_items=60, tasks=LOST), "none", **retunes)
    bare = tuple(replace(one, items=None) for one in found.retuned)
    found = replace(found, retuned=bare, items={})
    assert value(found, "recovery_loss").value > 0
    assert np.isnan(value(found, "recovery_share").value)
