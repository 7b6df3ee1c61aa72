"""What 4 bits alone changed is said apart, on the same items."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from retain.report.rounding import rounded_between, rounding
from retain.steps.step import Step

NUM_ITEMS = 200


class Folder:
    """A store of two evaluations of one task."""

    def __init__(self, root):
        self.root = root

    def open(self, step, name):
        return self.root / step.name / name

    def write(self, step, right, value):
        folder = self.root / step.name
        folder.mkdir()
        names = [f"i{number}" for number in range(NUM_ITEMS)]
        roles = ["select" if number % 2 else "report" for number in range(NUM_ITEMS)]
        columns = {
            "item": names, "role": roles, "source_item": names, "num_fewshot": [0] * NUM_ITEMS,
            "metric:acc": right.astype(float),
        }  # fmt: skip
        parquet.write_table(pa.table(columns), folder / "items.parquet")
        score = {
            "task": "t", "metric": "acc", "num_fewshot": 0, "value": value, "is_main": True,
            "aggregation": "mean",
        }  # fmt: skip
        scores = [score | {"role": role} for role in ("report", "select")]
        (folder / "scores.json").write_text(json.dumps(scores))


@pytest.fixture
def pair(tmp_path):
    """Scores of the model with 4 bits, and of the whole one, which has ten more right."""
    store = Folder(tmp_path)
    whole = np.arange(NUM_ITEMS) < 120
    rounded = np.arange(NUM_ITEMS) < 100
    steps = [Step("evaluate", name, 1, {"of": name}) for name in ("rounded", "whole")]
    store.write(steps[0], rounded, 0.5)
    store.write(steps[1], whole, 0.6)
    return store, *steps


def row(arm, rounded, unquantised):
    return SimpleNamespace(
        variant="default", arm=arm, seed=0, phase_index=0, evaluations={"t": rounded},
        unquantised=unquantised,
    )  # fmt: skip


def test_the_change_has_its_interval_and_arms_that_share_it_say_it_once(pair):
    store, rounded, whole = pair
    rows = [row(arm, rounded, {"t": whole}) for arm in ("none", "other")]
    [line] = rounding(SimpleNamespace(rows=rows), store)
    assert "t acc 0.500, in full precision 0.600 (-0.100 [-0.1" in line
    assert "100 items" in line


def test_a_row_0_in_full_precision_has_nothing_to_say(pair):
    store, rounded, _ = pair
    assert list(rounding(SimpleNamespace(rows=[row("none", rounded, {})]), store)) == []


def test_a_phase_that_starts_from_weights_rounded_otherwise_is_told_once(tmp_path):
    store = Folder(tmp_path)
    trained = [Step("train", name, 1, {"of": name}) for name in ("merged", "same")]
    costs = {"loss_left": 2.5, "loss_started": 2.75, "trained_tokens": 40}
    for step, facts in zip(trained, ({"rounded": costs}, {}), strict=True):
        (tmp_path / step.name).mkdir()
        (tmp_path / step.name / "facts.json").write_text(json.dumps(facts))
    rows = [SimpleNamespace(arm="qlora", phase="hindi", train=step) for step in (*trained, None)]

    [told] = rounded_between([*rows, rows[0]], store)
    assert told.startswith("qlora, hindi: starts from weights rounded otherwise")
    assert "its first 40 trained tokens is 2.750 nats" in told
    assert "left 2.500 (+0.250)" in told
