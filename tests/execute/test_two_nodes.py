"""A run on a Ray cluster of two nodes whose node and driver are killed: the tables of one process.

``make kill-cluster`` does it twenty times, and cuts the network between them.
"""

import random

import pytest

from tests.kills.on_cluster import DRIVER, NODE, Trial, alone, faults_of, write_recipe
from tests.kills.two_nodes import TwoNodes


@pytest.mark.slow
def test_a_killed_node_and_a_killed_driver_change_no_byte(tmp_path):
    recipe = write_recipe(tmp_path, num_arms=2, seeds=1)
    expected = alone(recipe, tmp_path / "alone")
    deck = [DRIVER, NODE]  # the last one first
    with TwoNodes() as cluster:
        trial = Trial(cluster, recipe, tmp_path / "runs", deck, random.Random(0), far_seconds=1.0)
        trial.go()
    assert faults_of(trial, expected, tmp_path / "runs") == []
    assert [one.kind for one in trial.disturbed] == [NODE, DRIVER]
