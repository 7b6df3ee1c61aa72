"""Scores of lm-eval's groups, checkpoint by checkpoint."""

from types import SimpleNamespace

import pytest

from retain.report.harness_groups import harness_groups
from retain.report.scores import ScoreRow

GROUP = """
group: both
task: [one, two]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""
TASK = "task: {}\noutput_type: multiple_choice\ntest_split: test\n"


def _row(phase_index, task, value, num_items, role="report"):
    return ScoreRow(
        variant="", arm="none", seed=0, phase_index=phase_index, phase=f"phase {phase_index}",
        task=task, metric="acc", num_fewshot=0, value=value, stderr=0.1, num_items=num_items,
        higher_is_better=True, is_main=True, role=role,
    )  # fmt: skip


def _recipe(folder, *tasks):
    asked = SimpleNamespace(tasks=tasks, groups={}, include_path=str(folder))
    return SimpleNamespace(evaluate=asked)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "both.yaml").write_text(GROUP)
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(TASK.format(name))
    return tmp_path


def test_each_checkpoint_has_its_own_mean_over_report_items(folder):
    scores = [
        row
        for phase_index, value in ((0, 0.25), (1, 0.5))
        for row in (
            _row(phase_index, "one", value, 10),
            _row(phase_index, "two", 1.0, 30),
            _row(phase_index, "two", 0.0, 70, role="select"),
        )
    ]
    found = list(harness_groups(_recipe(folder, "phases", "phase:x", "both"), scores))
    assert [(one.phase_index, one.phase) for one in found] == [(0, "phase 0"), (1, "phase 1")]
    assert [one.value for one in found] == pytest.approx([0.8125, 0.875])
    assert {(one.task, one.num_items, one.role, one.unit) for one in found} == {
        ("both", 40, "report", "fraction")
    }


def test_tasks_by_themselves_make_no_group(folder):
    assert not list(harness_groups(_recipe(folder, "one"), [_row(0, "one", 0.5, 10)]))
