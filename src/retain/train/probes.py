"""Measurements that a choice of what moves may ask for, made before the phase."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from retain.errors import TrainingError
from retain.model import cache
from retain.model.load import load
from retain.model.outputs import PROBE_TEXTS, block_outputs


def activation_drift(before: Path, after: Path, *, device: str = "auto") -> list[float]:
    """How far each block's output has moved on the probe texts, from the first block to the last.

    The mean over all tokens of ``|after - before| / |before|``, Euclidean norms of the hidden state
    that leaves the block, at float32. What a block passes on moves the blocks above it too, so this
    mostly grows towards the output.

    Args:
        before: Folder of the base model.
        after: Folder of the checkpoint.
        device: ``auto``, or a device of torch.

    Raises:
        TrainingError: If the two have unlike blocks.
    """
    old = block_outputs(load(str(before), precision="fp32", device=device), PROBE_TEXTS)
    new = block_outputs(cache.get(after, precision="fp32", device=device), PROBE_TEXTS)
    if [one.shape for one in old] != [one.shape for one in new]:
        raise TrainingError(
            f"the base model has {len(old)} blocks of other shapes than the {len(new)} of the "
            "checkpoint, so their outputs cannot be compared"
        )
    return [
        float(((n - o).norm(dim=-1) / o.norm(dim=-1)).mean()) for o, n in zip(old, new, strict=True)
    ]


PROBES: Mapping[str, Callable[..., list[float]]] = {"activation_drift": activation_drift}


def measure(names: Sequence[str], before: Path, after: Path, *, device: str) -> dict[str, Any]:
    """The probes of these names, between two model folders.

    Raises:
        TrainingError: If there is no probe of a name.
    """
    for name in names:
        if name not in PROBES:
            raise TrainingError(f"no probe '{name}'; known: {', '.join(PROBES)}")
    return {name: PROBES[name](before, after, device=device) for name in names}
