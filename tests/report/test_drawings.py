"""Pictures: where marks stand, what they say aloud, files that repeat; the terminal's table."""

import io
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from retain.measure.statistics import UNKNOWN
from retain.report.analysis import analyse, choose_arms
from retain.report.curves import Line, curve_lines, loss_plot
from retain.report.facts import Curve
from retain.report.figures import draw_figures
from retain.report.heat import blocks, heat_maps
from retain.report.plane_drawing import plane
from retain.report.planes import Point, panels
from retain.report.results import Arm
from retain.report.scores import Checkpoint
from retain.report.svg import Scale, element, padded, tick_labels, ticks
from retain.report.terminal import show_analysis
from tests.report.synthetic import ARMS, make_results


@pytest.fixture(scope="module")
def analysis(results):
    return analyse(results, choose_arms(results))


@pytest.fixture(scope="module")
def book(analysis):
    return analysis.books[0]


def test_each_unit_has_a_panel_of_its_own(book):
    shown = panels(book)
    assert [(panel.title, panel.subtitle) for panel in shown] == [
        ("medicine", "accuracy lost, against the best earlier phase"),
        ("piqa", "accuracy lost, against the base model"),
        ("english", "bits per byte lost, against the base model"),
    ]
    assert shown[0].learnt_label == "learnt of hindi, share of what none learnt"
    none = shown[2].points[0]
    assert none.learnt == 1.0
    assert not none.learnt_interval.known
    assert none.lost == pytest.approx(0.24, abs=0.02)
    assert none.lost_interval.low < none.lost < none.lost_interval.high


def test_seeds_are_drawn_one_by_one():
    results = make_results(seeds=(0, 1))
    shown = panels(analyse(results, choose_arms(results)).books[0])
    assert len(shown[0].points[0].seeds) == 2
    assert plane(shown[0], "x").count('class="seed') == 8


def test_less_lost_is_drawn_higher(book):
    drawing = str(plane(panels(book)[2], "x"))
    marks = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"[^>]*class="mark arm-([01])"', drawing)
    places = {arm: (float(x), float(y)) for x, y, arm in marks}
    assert places["1"][1] < places["0"][1]
    assert places["1"][0] < places["0"][0]
    assert "none: learnt 1.000, lost 0.2" in drawing


@pytest.mark.parametrize(("left", "anchor"), [(0.0, "end"), (0.4, "start")])
def test_what_the_line_at_zero_means_stands_where_no_mark_is(book, left, anchor):
    ends = [(0.0, left), (1.0, 0.5)]
    points = tuple(
        Point(
            arm=arm, place=0, learnt=learnt, learnt_interval=UNKNOWN, lost=lost,
            lost_interval=UNKNOWN,
        )
        for arm, (learnt, lost) in zip(ARMS, ends, strict=False)
    )  # fmt: skip
    drawn = str(plane(replace(panels(book)[0], points=points, paths=()), "x"))
    note = drawn.partition(">nothing lost<")[0].rpartition("<text")[2]
    assert f'text-anchor="{anchor}"' in note


def test_shared_phases_are_told_once(book):
    shared, *others = blocks(heat_maps(book))
    assert shared.arm is None
    assert [phase for phase, _ in shared.rows] == ["base", "medicine"]
    assert [block.arm.name for block in others] == [arm.name for arm in ARMS]
    assert all([phase for phase, _ in block.rows] == ["hindi"] for block in others)


def test_a_cell_is_coloured_only_beyond_its_interval(book):
    for one in heat_maps(book):
        for _, cells in one.rows:
            for cell in cells:
                beyond = cell.change_interval.is_above_zero or cell.change_interval.is_below_zero
                assert (cell.tone != 0) == beyond
    none = heat_maps(book)[0]
    english = none.rows[2][1][4]
    assert english.tone == -3
    assert english.change_text.startswith("+0.2")


def test_a_phase_of_one_step_is_drawn():
    drawn = loss_plot([Line("none", 0, (1.0,), (3.5,))], "short", "loss")
    assert "none: 3.5" in drawn
    assert "<polyline" in drawn


def test_curves_are_shared_or_one_per_arm(results):
    first = [curve for curve in results.curves if curve.checkpoint.phase_index == 1]
    second = [curve for curve in results.curves if curve.checkpoint.phase_index == 2]
    assert [line.name for line in curve_lines(first, list(enumerate(ARMS)))] == ["all arms"]
    assert [line.name for line in curve_lines(second, list(enumerate(ARMS)))] == [
        arm.name for arm in ARMS
    ]


@given(st.integers(1, 3000))
def test_smoothing_keeps_the_mean_and_few_points(num_steps):
    curve = Curve(
        checkpoint=Checkpoint("default", "none", 0, 1),
        phase="a",
        steps=range(num_steps),
        losses=[3.0] * num_steps,
    )
    (line,) = curve_lines([curve], [(0, Arm(name="none"))])
    assert 1 <= len(line.steps) <= 160
    assert set(line.losses) == {3.0}


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_ticks_are_inside_few_and_apart(low, width):
    places = ticks(low, low + width)
    assert 1 <= len(places) <= 7
    assert all(low - 1e-6 * width <= place <= low + width * (1 + 1e-6) for place in places)
    labels = tick_labels(places)
    assert len(set(labels)) == len(labels)


@given(st.lists(st.floats(-100, 100) | st.just(math.nan), max_size=5))
def test_a_range_is_never_empty(values):
    low, high = padded(values)
    assert low < high
    scale = Scale(low, high, 0, 100)
    assert all(0 <= scale(value) <= 100 for value in values if not math.isnan(value))


def test_attributes_cannot_be_left():
    drawn = str(element("text", '</text><script>"', fill='"><script>', class_="a"))
    assert "<script" not in drawn
    assert drawn.startswith('<text fill="&#34;&gt;&lt;script&gt;" class="a">')


def test_figures_are_files_that_repeat(analysis, tmp_path):
    first = draw_figures(analysis, tmp_path / "one")
    second = draw_figures(analysis, tmp_path / "two")
    assert [path.name for path in first] == [
        f"{name}.{kind}"
        for name in ("learnt-against-forgotten", "scores", "loss", "what-moves")
        for kind in ("png", "svg")
    ]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert first[0].read_bytes().startswith(b"\x89PNG")


def test_names_cannot_be_formulas_nor_break_a_figure(tmp_path):
    names = {"none": "none", "low_rate": "_low$x^{", "replay": "हिन्दी", "freeze": "\x1b[31m"}
    made = make_results()
    from tests.report.test_page import everything_hostile

    hostile = everything_hostile(made, names["low_rate"] + names["replay"] + names["freeze"])
    assert draw_figures(analyse(hostile, choose_arms(hostile)), tmp_path)


@pytest.mark.parametrize("width", [80, 140])
def test_the_terminal_shows_every_score_whatever_its_width(analysis, width):
    console = Console(file=io.StringIO(), record=True, width=width)
    show_analysis(analysis, console)
    text = console.export_text()
    for wanted in (
        "row 0, base",
        "1.323 +0.238",
        "[+0.229, +0.247]",
        "no headroom",
        "chance 0.125",
    ):
        assert wanted in text
    assert "…" not in text
    assert 'from_pretrained("runs/quickstart/models/low_rate-seed0-hindi")' in text
    assert "training noise unknown" in text


def test_hostile_text_drives_no_terminal(results):
    from tests.report.test_page import everything_hostile

    hostile = everything_hostile(results, "\x1b[31m[bold]\u202e")
    out = io.StringIO()
    show_analysis(
        analyse(hostile, choose_arms(hostile)), Console(file=out, width=200, color_system=None)
    )
    assert "\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue()
    assert "[bold]" in out.getvalue()


def test_no_picture_of_a_former_run_stays(analysis, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "scores-dropped.png").write_bytes(b"old")
    written = draw_figures(analysis, folder)
    assert sorted(folder.iterdir()) == sorted(written)
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


def test_a_sweep_is_a_curve_in_its_own_order():
    arms = tuple(
        Arm(name=f"{base}@{rate}", base_arm=base, swept=(("rate", rate),))
        for base in ("none", "other")
        for rate in (1, 2)
    )
    results = make_results(arms=arms)
    results = replace(results, recipe=results.recipe | {"fail_if": []})
    swept = panels(analyse(results, choose_arms(results)).books[0])
    assert [[p.arm.name for p in curve] for curve in swept[0].curves] == [
        ["none@1", "none@2"],
        ["other@1", "other@2"],
    ]
    drawing = str(plane(swept[0], "x"))
    assert drawing.count('class="curve') == 2
