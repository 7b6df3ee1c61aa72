"""What a run ran on, as its steps' records say."""

from retain.recipe import expand
from retain.report.collect import methods_of_arm
from retain.report.environment import environment, unlike
from tests.recipe.recipes import read

LORA = {"tuning": "lora", "learning_rate": 1e-3}


def record(torch="2.13.0", **facts):
    return {"facts": facts, "versions": {"python": "3.11.7", "torch": torch, "numpy": "2.4.0"}}


ALIKE = (
    record(),
    record(device="cpu", num_threads=2, precision="bf16", packed=True),
    record(device="cpu:0", threads=2, precision="bf16"),
)


def test_the_environment_is_that_of_the_steps_not_todays():
    found = environment(ALIKE)
    assert found == {
        "device": "cpu",
        "precision": "bf16",
        "threads": "2",
        "sequences": "packed",
        "python": "3.11.7",
        "torch": "2.13.0",
        "numpy": "2.4.0",
    }
    assert unlike(ALIKE) == []


def test_steps_that_ran_on_unlike_things_are_warned_of():
    mixed = (*ALIKE, record(torch="2.12.0", device="cuda", num_threads=8))
    warnings = unlike(mixed)
    assert len(warnings) == 3
    assert "more than one device: cpu, cuda." in warnings[0]
    assert "more than one number of threads: 2, 8." in warnings[1]
    assert "more than one version of torch: 2.13.0, 2.12.0." in warnings[2]
    assert environment(mixed)["torch"] == "2.13.0, 2.12.0"


def test_a_tuning_of_one_arm_is_no_plain_training():
    arms = {"none": [], "slow": {"train": {"learning_rate": 1e-5}}, "lora": {"train": LORA}}
    found = {cell.arm: methods_of_arm(cell) for cell in expand(read(arms=arms))}
    assert found == {"none": (), "slow": (), "lora": ("lora",)}
