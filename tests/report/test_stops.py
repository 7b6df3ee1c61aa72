"""Checkpoints inside the last phase: on the plane, eligible, judged and gated as arms are."""

import csv
import io
from dataclasses import fields, replace

import pytest

from retain.report import report
from retain.report.analysis import analyse, choose_arms
from retain.report.page import render
from retain.report.planes import panels
from retain.report.report import write_report
from retain.report.scores import Checkpoint, InsideScore, ItemKey, ScoreRow, TaskKey, stop_name
from retain.report.stops import with_stops
from retain.report.tables import measures_csv, scores_csv
from tests.report.reading import Reader
from tests.report.synthetic import ARMS, RECIPE, make_results, poisoned, set_task

COLUMNS = [column.name for column in fields(ScoreRow)]


def with_inside(results, arm="none", like="low_rate", part="50%", step=20):
    """The run with a checkpoint inside the last phase that scored as another arm did in the end.

    The other arm is gone, so that the checkpoint is all that is left of it.
    """
    ends = [row for row in results.scores if (row.arm, row.phase_index) == (like, 2)]
    inside = [
        InsideScore(
            **{name: getattr(row, name) for name in COLUMNS} | {"arm": arm},
            optimizer_step=step,
            part=part,
        )
        for row in ends
    ]
    items = {
        ItemKey(Checkpoint("default", stop_name(arm, part), row.seed, 2), row.key): results.items[
            ItemKey(row.checkpoint, row.key)
        ]
        for row in ends
    }
    return replace(
        results,
        arms=tuple(one for one in results.arms if one.name != like),
        scores=tuple(row for row in results.scores if row.arm != like),
        items={key: one for key, one in results.items.items() if key.checkpoint.arm != like},
        training=tuple(one for one in results.training if one.checkpoint.arm != like),
        curves=tuple(one for one in results.curves if one.checkpoint.arm != like),
        samples=tuple(one for one in results.samples if one.checkpoint.arm != like),
        models={
            **{where: path for where, path in results.models.items() if where.arm != like},
            Checkpoint("default", stop_name(arm, part), 0, 2): f"models/{arm}@{part}-seed0-hindi",
        },
        inside=tuple(inside),
        inside_items=items,
    )


@pytest.fixture(scope="module")
def stopped(results):
    return with_inside(results)


def test_a_checkpoint_inside_the_phase_may_be_the_answer(stopped):
    (choice,) = choose_arms(stopped)
    assert choice.arm == "none@50%"
    (verdict,) = analyse(stopped, [choice]).verdicts
    assert verdict.headline == "Ship “none@50%”"
    assert verdict.path == "models/none@50%-seed0-hindi"
    assert "Stopping earlier is the answer." in verdict.why
    assert "`none@50%` is stopped after 50% of hindi" in verdict.caveat


def test_its_figures_are_those_of_the_arm_it_is_like(results, stopped):
    """The same items as an arm of their own tell the same, so nothing else of a stop counts."""
    whole, stop = (panels(analyse(one, choose_arms(one)).full_books[0]) for one in
                   (results, stopped))  # fmt: skip
    for panel, other in zip(whole, stop, strict=True):
        (point,) = [one for one in panel.points if one.arm.name == "low_rate"]
        ((dot, end),) = other.paths
        assert (dot.learnt, dot.lost) == pytest.approx((point.learnt, point.lost))
        assert dot.lost_interval == pytest.approx(point.lost_interval)
        assert end.arm.name == "none"
        assert dot.place == end.place
        assert [one.arm.name for one in other.points] == ["none", "replay", "freeze"]


def test_tables_of_ends_are_the_same_with_and_without(stopped):
    bare = replace(stopped, inside=(), inside_items={})
    both = [analyse(one, choose_arms(bare)) for one in (stopped, bare)]
    assert measures_csv(both[0].measures) == measures_csv(both[1].measures)
    assert scores_csv(both[0].results.scores) == scores_csv(both[1].results.scores)
    assert with_stops(bare) is bare


def test_it_stands_in_the_page_in_a_file_and_in_the_figures(stopped, tmp_path, monkeypatch):
    write_report(stopped, tmp_path)
    text = (tmp_path / "during.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text.splitlines()[0].endswith("higher_is_better,is_main,optimizer_step,part")
    assert {(row["arm"], row["phase"], row["optimizer_step"]) for row in rows} == {
        ("none", "hindi", "20")
    }
    assert len(rows) == 5
    reader = Reader((tmp_path / "report.html").read_text())
    assert reader.faults == reader.live == []
    assert "none@50%" in reader.text
    monkeypatch.setattr(report, "draw_figures", lambda analysis, folder: None)
    write_report(replace(stopped, inside=(), inside_items={}), tmp_path)
    assert not (tmp_path / "during.csv").exists()


def test_no_select_item_of_a_checkpoint_is_printed(stopped):
    spoiled = poisoned(replace(stopped, items=stopped.items | stopped.inside_items))
    keys = set(stopped.inside_items)
    spoiled = replace(
        spoiled,
        items={key: one for key, one in spoiled.items.items() if key not in keys},
        inside_items={key: one for key, one in spoiled.items.items() if key in keys},
        inside=tuple(
            replace(row, value=1e6) if row.role == "select" else row for row in stopped.inside
        ),
    )
    choices = choose_arms(stopped)
    clean, dirty = (render(analyse(one, choices)) for one in (stopped, spoiled))
    assert clean == dirty


def test_a_gate_holds_for_the_checkpoint_that_would_be_shipped(stopped):
    gate = {"measure": "change_from_base", "task": "embedded_boolq", "arms": ["none"]}
    made = replace(stopped, recipe=RECIPE | {"fail_if": [gate | {"below": 0.5}]})
    analysis = analyse(made, choose_arms(made))
    assert {gate.arm for gate in analysis.failed} == {"none", "none@50%"}
    assert analysis.verdicts[0].headline == "Ship none of these"
    other = replace(
        stopped, recipe=RECIPE | {"fail_if": [gate | {"below": 0.5, "arms": ["replay"]}]}
    )
    assert {gate.arm for gate in analyse(other, choose_arms(other)).failed} == {"replay"}


def test_of_several_phases_only_the_last_ones_checkpoints_are_arms(stopped):
    earlier = tuple(replace(row, phase_index=1, phase="medicine") for row in stopped.inside)
    assert with_stops(replace(stopped, inside=earlier)).arms == stopped.arms


def test_a_stop_of_joint_is_a_reference_too(results):
    joint = replace(ARMS[0], name="joint", methods=("joint",))
    made = make_results(arms=(*ARMS[:3], joint), tasks=set_task("embedded_piqa"))
    stopped = with_inside(made, arm="joint")
    assert choose_arms(stopped)[0].arm != "joint@50%"
    assert TaskKey("embedded_piqa", "acc", 0) in {row.key for row in with_stops(stopped).scores}


def test_a_variant_has_the_stops_of_its_own_arms(results):
    inside = with_inside(results)
    variant = replace(inside.variants[0], arms=("none", "freeze"))
    [found] = with_stops(replace(inside, variants=(variant,))).variants
    assert found.arms == ("none", "freeze", "none@50%", "freeze@50%")
