"""The counted operations against those that torch counts, and what follows from them."""

from dataclasses import replace

import pytest
from torch.utils.flop_counter import FlopCounterMode

from retain.model.facts import describe
from retain.train.estimate import (
    Phase,
    Rates,
    measure_rates,
    scoring_seconds,
    training_cost,
    training_flops,
    training_memory_bytes,
)
from retain.train.forward import make_forward
from retain.train.hooks import Hooks
from retain.train.objective import Objective, step_weight
from retain.train.optimizer import choose
from tests.conftest import make_model
from tests.train.phases import make_row

RATES = Rates(gflops=100, bandwidth_gb_per_s=20)
UPPER = [name for name, _ in make_model().named_parameters() if ".layers.1." in name]


@pytest.fixture
def facts(tiny_model_folder):
    return describe(str(tiny_model_folder))


def phase(**changes):
    values = {
        "num_steps": 10,
        "tokens": 20_000,
        "trained_tokens": 10_000,
        "sequence_tokens": 100.0,
        "precision": "fp32",
    }
    return Phase(**(values | changes))


@pytest.mark.parametrize(
    "moving", [None, UPPER, ["model.norm.weight"]], ids=["all", "upper", "norm"]
)
@pytest.mark.parametrize("trained", [99, 5])
def test_operations_are_those_that_torch_counts(facts, moving, trained):
    model = make_model()
    choose(model, moving)
    rows = [make_row("a", 100, trained=trained), make_row("b", 100, trained=trained)]
    objective = Objective(make_forward(model), Hooks(), "fp32")
    with FlopCounterMode(display=False) as counter:
        objective.backward(rows, step_weight(rows))
    counted = counter.get_total_flops()
    names = None if moving is None else frozenset(moving)
    one = phase(num_steps=1, tokens=200, trained_tokens=2 * trained, moving=names)
    assert training_flops(facts, one) == pytest.approx(counted, rel=0.35)


def test_less_to_compute_costs_less(facts):
    full = training_cost(facts, phase(), RATES)
    frozen = training_cost(facts, phase(moving=frozenset(UPPER)), RATES)
    fewer = training_cost(facts, phase(trained_tokens=100), RATES)
    spared = training_cost(facts, phase(recomputed=True), RATES)
    light = training_cost(facts, phase(moment_bytes=2.0), RATES)
    assert light.memory_bytes == full.memory_bytes - 6 * facts.num_parameters
    assert light.snapshot_bytes == full.snapshot_bytes / 2
    assert frozen.seconds < 0.7 * full.seconds
    assert frozen.memory_bytes < full.memory_bytes
    assert frozen.snapshot_bytes < full.snapshot_bytes == 3 * full.copy_bytes
    assert fewer.seconds < full.seconds < spared.seconds
    assert spared.memory_bytes < full.memory_bytes
    assert training_cost(facts, phase(), replace(RATES, gflops=200)).seconds < full.seconds
    assert full.disk_bytes > 4 * facts.num_parameters


def test_a_quiet_machine_is_measured(facts):
    rates = measure_rates(facts, "fp32", seconds=0.02)
    assert rates.gflops > 0.1
    assert rates.bandwidth_gb_per_s > 0.1
    more = scoring_seconds(facts, rates, "fp32", tokens=1000, scored_tokens=1000)
    assert 0 < scoring_seconds(facts, rates, "fp32", tokens=1000, scored_tokens=10) < more


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rank_that_keeps_a_part_of_every_block_needs_little_more_than_that(facts, precision):
    wide = replace(
        facts,
        places={
            name: replace(place, size=10**7) if place.part == "block" else place
            for name, place in facts.places.items()
        },
    )
    whole = training_memory_bytes(wide, phase(precision=precision))
    halves = training_memory_bytes(wide, phase(precision=precision, shares=2))
    blocks, of_a_weight = wide.block_parameters, 16 + 2 * (precision == "bf16")
    assert whole - halves == of_a_weight * blocks - 8 * blocks - 4 * 5 * 10**7
