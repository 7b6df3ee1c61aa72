"""Scores, their errors, and the file of items."""

from math import log, sqrt

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.evaluate.items import Item
from retain.evaluate.results import (
    bits_per_byte,
    chance,
    item_rows,
    majority,
    mean_and_stderr,
    scores,
    write_items,
)
from retain.evaluate.task import Metric, Outcome, Question

ACC = Metric("acc", True, "fraction", True)


class Fixed:
    """A task whose metrics are given."""

    name = "fixed"

    def metrics(self, outcomes):
        return [ACC]


def asked(values, roles=("select", "report", "report")):
    pairs = []
    for number, value in enumerate(values):
        item = Item(f"{number:02}", f"{number:02}", roles[number % len(roles)], number)
        outcome = Outcome(
            metrics={"acc": value},
            choice_logprobs=[-1.0, -2.0],
            choice_bytes=[3, 4],
            answer=number % 2,
        )
        pairs.append((Question(item, 0, [], "the prompt", None), outcome))
    return pairs


def test_roles_are_apart_and_together():
    rows = {row["role"]: row for row in scores(Fixed(), asked([1.0, 0.0, 1.0, 1.0, 0.0, 0.0]))}
    assert (rows["select"]["value"], rows["select"]["num_items"]) == (1.0, 2)
    assert (rows["report"]["value"], rows["report"]["num_items"]) == (0.25, 4)
    assert (rows["all"]["value"], rows["all"]["num_items"]) == (0.5, 6)
    assert rows["all"]["chance"] == 0.5
    assert rows["all"]["majority"] == 0.5


def test_one_item_has_no_error():
    (row, _) = scores(Fixed(), asked([1.0], roles=("report",)))
    assert row["stderr"] is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_the_error_of_a_mean_is_numpys(values):
    mean, stderr = mean_and_stderr(values)
    assert mean == pytest.approx(np.mean(values))
    assert stderr == pytest.approx(np.std(values, ddof=1) / sqrt(len(values)), abs=1e-9)


def test_the_delta_method_agrees_with_resampling():
    draw = np.random.default_rng(0)
    sizes = draw.integers(50, 400, 200)
    nats = sizes * draw.normal(0.8, 0.1, 200)
    value, stderr = bits_per_byte(list(nats), list(sizes))
    assert value == pytest.approx(nats.sum() / sizes.sum() / log(2))
    chosen = draw.integers(0, 200, (2000, 200))
    resampled = nats[chosen].sum(1) / sizes[chosen].sum(1) / log(2)
    assert stderr == pytest.approx(resampled.std(), rel=0.1)


def test_chance_and_majority_over_unequal_choices():
    outcomes = [
        Outcome(choice_logprobs=[0.0] * 2, answer=0),
        Outcome(choice_logprobs=[0.0] * 4, answer=0),
        Outcome(choice_logprobs=[0.0] * 4, answer=3),
    ]
    assert chance(outcomes) == pytest.approx((1 / 2 + 1 / 4 + 1 / 4) / 3)
    assert majority(outcomes) == pytest.approx(2 / 3)


def test_items_are_written_with_a_column_per_metric(tmp_path):
    pairs = asked([1.0, 0.0, 1.0])
    pairs[1][1].metrics.clear()
    write_items(item_rows(Fixed(), pairs), tmp_path / "items.parquet")
    table = pq.read_table(tmp_path / "items.parquet")
    assert table["metric:acc"].to_pylist() == [1.0, None, 1.0]
    assert table["choice_logprobs"].to_pylist()[0] == [-1.0, -2.0]
    assert table["role"].to_pylist() == ["select", "report", "report"]
    assert table["item"].to_pylist() == ["00", "01", "02"]
