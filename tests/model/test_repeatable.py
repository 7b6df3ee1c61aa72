"""Switches of torch that a GPU needs; that they are set can be seen without one."""

import os

import pytest
import torch

from retain.errors import TrainingError
from retain.model.repeatable import WORKSPACE, repeatable

GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture(autouse=True)
def _as_found(monkeypatch):
    monkeypatch.setenv(WORKSPACE, "put back afterwards")
    monkeypatch.delenv(WORKSPACE)
    yield
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_gpu_gets_only_kernels_that_add_in_one_order():
    with repeatable(GPU, wanted=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ[WORKSPACE] == ":4096:8"


@pytest.mark.parametrize(("device", "wanted"), [(CPU, True), (GPU, False)])
def test_else_nothing_is_switched(device, wanted):
    with repeatable(device, wanted=wanted):
        assert not torch.are_deterministic_algorithms_enabled()


def test_what_has_no_such_kernel_is_named():
    told = pytest.raises(TrainingError, match=r"deterministic: true: put_.*leave it out")
    with told, repeatable(GPU, wanted=True):
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1), accumulate=False)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shape"), repeatable(GPU, wanted=True):
        torch.zeros(3).view(2)
