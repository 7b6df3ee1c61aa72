"""Curves in a real tracker: TensorBoard's files, read back."""

import pytest

from retain.errors import RecipeError
from retain.steps.step import Step
from retain.train import tracker
from retain.train.tracker import check_tracker, tracking

STEP = Step("train", "phase", 1, {"learning_rate": 1e-3, "methods": [], "seed": 0})


def scalars(folder):
    """Tag to (step, value) of each point that a reader of TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {
        tag: [(one.step, round(one.value, 4)) for one in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


def tell(folder, points):
    with tracking("tensorboard", "project", STEP, folder, pytest.fail) as figures:
        for number, loss in points:
            figures(number, {"step": number, "loss": loss, "learning_rate": 0.5})


def test_tensorboard_shows_every_step(tmp_path):
    tell(tmp_path, [(1, 3.0), (2, 2.5)])
    (run,) = tmp_path.iterdir()
    assert run.name == STEP.folder.removeprefix("train/")
    assert scalars(run) == {
        "loss": [(1, 3.0), (2, 2.5)],
        "learning_rate": [(1, 0.5), (2, 0.5)],
    }


def test_a_resumed_step_goes_on_in_the_same_run(tmp_path):
    """What was said of steps after the snapshot is said again, and counts once."""
    tell(tmp_path, [(1, 3.0), (2, 2.5), (3, 9.0)])
    tell(tmp_path, [(3, 2.0), (4, 1.5)])
    (run,) = tmp_path.iterdir()
    assert scalars(run)["loss"] == [(1, 3.0), (2, 2.5), (3, 2.0), (4, 1.5)]


def test_without_a_tracker_nothing_is_written(tmp_path):
    with tracking("none", "project", STEP, tmp_path / "t", pytest.fail) as figures:
        assert figures is None
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("kind", "command"),
    [("wandb", "pip install wandb"), ("tensorboard", r"pip install 'retain\[track\]'")],
)
def test_a_missing_package_is_named(monkeypatch, kind, command):
    monkeypatch.setattr("retain.train.tracker.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=f"report_to: {kind} is not installed: {command}"):
        check_tracker(kind)


def test_a_tracker_that_fails_is_told_once_and_training_goes_on(tmp_path, monkeypatch):
    calls = []

    def broken(run, number):
        calls.append(number)
        raise OSError("no route to host")

    monkeypatch.setitem(tracker.OPENERS, "tensorboard", broken)
    lost = []
    with tracking("tensorboard", "project", STEP, tmp_path, lost.append) as figures:
        for number in (1, 2, 3):
            figures(number, {"loss": 1.0})
    assert (calls, lost) == ([1], ["OSError: no route to host"])
