"""Kernels that add in the same order every time, for as long as a training lasts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from retain.errors import TrainingError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
FIXED_WORKSPACE = ":4096:8"  # what torch asks of cuBLAS; 24 MB of the GPU's memory
NONE_FOR_IT = "does not have a deterministic implementation"


@contextmanager
def repeatable(device: torch.device, *, wanted: bool) -> Iterator[None]:
    """Inside, torch takes on a GPU only kernels that give the same bits every time.

    On the CPU nothing is switched: what training calls there adds in one order as it is. The
    kernels of other packages (bitsandbytes) do not ask for torch's switch.

    Raises:
        TrainingError: If something is computed for which torch has no such kernel.
    """
    if not wanted or device.type == "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    trials = torch.backends.cudnn.benchmark
    os.environ.setdefault(WORKSPACE, FIXED_WORKSPACE)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # it chooses kernels by the clock
    try:
        yield
    except RuntimeError as error:
        if NONE_FOR_IT not in str(error):
            raise
        raise TrainingError(
            f"deterministic: true: {str(error).partition(NONE_FOR_IT)[0].strip()} has no kernel "
            f"that gives the same bits every time on {device.type}; leave it out"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = trials
