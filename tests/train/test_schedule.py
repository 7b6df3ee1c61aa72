import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import TrainingError
from retain.train.schedule import learning_rate, num_warmup_steps
from retain.train.settings import Settings, read_settings


def rates(num_steps, **values):
    settings = Settings(learning_rate=1.0, **values)
    return [learning_rate(settings, step, num_steps) for step in range(num_steps)]


def test_constant_after_the_warm_up():
    assert rates(5, lr_scheduler_type="constant", warmup_ratio=0.4) == [0.5, 1, 1, 1, 1]


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_shapes_are_those_of_transformers(shape):
    import torch
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler(shape, optimizer, num_warmup_steps=0, num_training_steps=9)
    for ours in rates(9, lr_scheduler_type=shape):
        assert ours == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@given(
    num_steps=st.integers(1, 200),
    warmup=st.integers(0, 250),
    shape=st.sampled_from(["constant", "linear", "cosine", "warmup_stable_decay"]),
)
def test_every_step_moves_and_none_exceeds_the_peak(num_steps, warmup, shape):
    found = rates(num_steps, lr_scheduler_type=shape, warmup_steps=warmup)
    assert all(0 < rate <= 1 for rate in found)
    peak = min(warmup, num_steps)
    assert found[:peak] == sorted(found[:peak])
    assert found[peak:] == sorted(found[peak:], reverse=True)


def test_a_ratio_is_rounded_up_and_steps_win():
    assert num_warmup_steps(Settings(learning_rate=1, warmup_ratio=0.03), 50) == 2
    assert num_warmup_steps(Settings(learning_rate=1, warmup_ratio=0.5, warmup_steps=3), 50) == 3


def test_settings_are_read_from_a_steps_own_and_the_rest_is_default():
    values = {"learning_rate": 1e-4, "precision": "bf16", "phase": "p", "warmup_steps": None}
    assert read_settings(values) == Settings(learning_rate=1e-4, precision="bf16")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "lack learning_rate"),
        ({"learning_rate": 1, "precision": "auto"}, "`auto` is resolved before"),
        ({"learning_rate": 1, "lr_scheduler_type": "cosin"}, "Did you mean 'cosine'"),
    ],
)
def test_wrong_settings_are_refused(values, message):
    with pytest.raises(TrainingError, match=message):
        read_settings(values)


def test_a_floor_is_what_the_rate_falls_to():
    for shape in ("linear", "cosine", "warmup_stable_decay"):
        found = rates(1000, lr_scheduler_type=shape, min_lr_ratio=0.2)
        assert found[0] == 1
        assert 0.2 < min(found) == found[-1] < 0.22


def test_a_cosine_falls_in_cycles_as_in_transformers():
    import torch
    from transformers import get_cosine_with_hard_restarts_schedule_with_warmup as scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = scheduler(optimizer, num_warmup_steps=0, num_training_steps=12, num_cycles=3)
    for ours in rates(12, lr_scheduler_type="cosine", num_cycles=3):
        assert ours == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_a_stable_rate_falls_at_the_end_alone():
    found = rates(20, lr_scheduler_type="warmup_stable_decay", decay_ratio=0.25, warmup_steps=4)
    assert found[:4] == [0.25, 0.5, 0.75, 1]
    assert found[4:17] == [1] * 13
    assert found[17:] == pytest.approx([0.75, 0.5, 0.25])
