"""No printed figure reads a `select` item; no choice reads a `report` item."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from retain.report.analysis import analyse, choose_arms
from retain.report.figures import draw_figures
from retain.report.latex import measures_tex
from retain.report.page import render
from retain.report.tables import measures_csv, scores_csv
from retain.report.terminal import show_analysis
from tests.report.synthetic import poisoned


def printed(results, choices, folder):
    """Everything that anyone can see of a run, as bytes."""
    analysis = analyse(results, choices)
    console = Console(record=True, width=100, file=io.StringIO())
    show_analysis(analysis, console)
    files = {path.name: path.read_bytes() for path in draw_figures(analysis, folder)}
    return {
        "scores": scores_csv(analysis.results.scores),
        "measures": measures_csv(analysis.measures),
        "latex": measures_tex(analysis),
        "page": render(analysis),
        "terminal": console.export_text(),
        **files,
    }


def test_printed_figures_are_the_same_whatever_the_select_items_say(results, tmp_path):
    choices = choose_arms(results)
    clean = printed(results, choices, tmp_path / "clean")
    spoiled = printed(poisoned(results), choices, tmp_path / "spoiled")
    assert clean == spoiled


def test_the_choice_is_the_same_whatever_the_report_items_say(results):
    items = {
        key: replace(one, values=np.where(one.roles == "report", 0.5, one.values))
        for key, one in results.items.items()
    }
    scores = tuple(
        replace(row, value=0.5) if row.role == "report" else row for row in results.scores
    )
    assert choose_arms(replace(results, items=items, scores=scores)) == choose_arms(results)


def test_the_choice_does_read_the_select_items(results):
    """So that the test above could fail: other select items, another choice."""
    scores = tuple(
        replace(row, arm={"low_rate": "freeze", "freeze": "low_rate"}.get(row.arm, row.arm))
        if row.role == "select"
        else row
        for row in results.scores
    )
    assert choose_arms(replace(results, scores=scores, items={})) != choose_arms(results)


@pytest.mark.parametrize("role", ["select", "report"])
def test_a_role_has_its_own_items_alone(results, role):
    part = results.of_role(role)
    assert {row.role for row in part.scores} == {role}
    for one in part.items.values():
        assert set(one.roles) == {role}
        assert (np.sort(one.hashes) == one.hashes).all()
