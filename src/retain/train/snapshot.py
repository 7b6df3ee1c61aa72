"""What a phase in progress needs to go on after a kill, as safetensors and JSON.

A snapshot is a folder ``step-<n>`` that is whole or not there (``retain.steps.durable``). The two
newest are kept: the newest that verifies is used, and each one passed over is named.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from retain.errors import TrainingError
from retain.model.tensors import FolderTensors
from retain.steps.durable import TEMPORARY, announce, durable_folder, remove_tree
from retain.steps.manifest import faults

FORMAT = 1
KEPT = 2
FOLDER = "snapshots"
WEIGHTS, OPTIMIZER = "weights", "optimizer"
SHARD_BYTES = 2**28
COST = 0.05  # of the time, at most
SHORTEST_SECONDS = 30.0  # between snapshots, when their number is ours to choose
BYTES_PER_SECOND = 300e6  # write, hash and fsync, until a real snapshot was timed


@dataclass(frozen=True)
class Snapshot:
    """The state after ``step`` optimizer steps.

    Attributes:
        step: Optimizer steps done.
        weights: The parameters that move, by name.
        optimizer: Its state, by name.
        state: JSON: the plan, seconds spent, the curve so far.
    """

    step: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    state: Mapping[str, Any]

    @property
    def num_bytes(self) -> int:
        """Of its tensors."""
        return _num_bytes(self.weights) + _num_bytes(self.optimizer)


def _num_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Of tensors, which need not be here to say so."""
    known: int | None = getattr(tensors, "num_bytes", None)
    return sum(t.nbytes for t in tensors.values()) if known is None else known


def copied(snapshot: Snapshot) -> Snapshot:
    """The same state in memory of its own, on the CPU: what is trained next does not change it."""

    def copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: torch.empty(t.shape, dtype=t.dtype).copy_(t.detach())
            for name, t in tensors.items()
        }

    return replace(snapshot, weights=copy(snapshot.weights), optimizer=copy(snapshot.optimizer))


def save(partial: Path, snapshot: Snapshot) -> Path:
    """Write a snapshot durably, then remove the ones no longer needed.

    Args:
        partial: The step's folder that survives a kill.
        snapshot: What to write; tensors may be on any device.

    Raises:
        StoreError: If the disk is full; the earlier snapshots stay.
    """
    root = partial / FOLDER
    final = root / f"step-{snapshot.step:08d}"
    if final.exists():  # it did not verify, or the same step was reached again
        remove_tree(final)
    with durable_folder(final, needed_bytes=snapshot.num_bytes) as folder:
        _write(snapshot.weights, folder / WEIGHTS)
        _write(snapshot.optimizer, folder / OPTIMIZER)
        state = {"format": FORMAT, "step": snapshot.step, **snapshot.state}
        announce("write", folder / "state.json")
        (folder / "state.json").write_text(json.dumps(state), "utf-8")
    others = [path for path in _folders(root) if path != final]
    newer = [path for path in others if path > final]  # passed over when this run began
    for old in [*newer, *[path for path in others if path < final][KEPT - 1 :]]:
        remove_tree(old)
    return final


def _write(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write tensors in files of 256 MB: each is copied once in memory on the way."""
    folder.mkdir()
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    for number, shard in enumerate(shards):
        path = folder / f"{number:05d}.safetensors"
        announce("write", path)
        save_file({name: tensor.contiguous() for name, tensor in shard.items()}, path)


def newest(
    partial: Path, passed_over: Callable[[str, list[str]], None], *, last: int | None = None
) -> Snapshot | None:
    """The newest snapshot that verifies, or None.

    Args:
        partial: The step's folder that survives a kill.
        passed_over: Told the name and the faults of each snapshot that does not verify.
        last: Take none after so many optimizer steps; None takes any.
    """
    for torn in (partial / FOLDER).glob(f"{TEMPORARY}-*"):
        remove_tree(torn)
    for folder in _folders(partial / FOLDER):
        if found := faults(folder):
            passed_over(folder.name, found)
            continue
        state = json.loads((folder / "state.json").read_text("utf-8"))
        if state.pop("format") != FORMAT:
            passed_over(folder.name, ["written by another version of retain"])
            continue
        if last is not None and state["step"] > last:
            passed_over(folder.name, [f"a checkpoint of step {last} is missing"])
            continue
        return Snapshot(
            step=state.pop("step"),
            weights=FolderTensors(folder / WEIGHTS),
            optimizer=FolderTensors(folder / OPTIMIZER),
            state=state,
        )
    return None


def restore(snapshot: Snapshot, parameters: Mapping[str, Tensor]) -> None:
    """Copy the snapshot's weights into the parameters.

    Raises:
        TrainingError: If they are not the same ones.
    """
    if set(snapshot.weights) != set(parameters):
        different = sorted(set(snapshot.weights) ^ set(parameters))
        raise TrainingError(
            f"the snapshot of step {snapshot.step} has other trainable parameters than this phase, "
            f"such as '{different[0]}'"
        )
    for name, value in snapshot.weights.items():
        parameters[name].data.copy_(value)


@dataclass
class Pace:
    """When to save: every ``save_steps``, or as often as costs under 5 % of the time.

    Attributes:
        save_steps: Optimizer steps between snapshots; None leaves it to the clock.
        num_bytes: Size of a snapshot, for a first guess of its duration.
        save_seconds: From the start of a save to its end.
    """

    save_steps: int | None
    num_bytes: int
    save_seconds: float = field(init=False)
    _cost: float = field(init=False)
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self.save_seconds = self._cost = self.num_bytes / BYTES_PER_SECOND
        self._last = monotonic()

    def is_due(self, step: int) -> bool:
        """Whether to save after ``step`` optimizer steps."""
        if self.save_steps is not None:
            return step % self.save_steps == 0
        return monotonic() - self._last >= max(SHORTEST_SECONDS, self._cost / COST)

    def begun(self) -> None:
        """Note that a snapshot is being made."""
        self._last = monotonic()

    def saved(self, seconds: float, cost: float) -> None:
        """Note what a snapshot took.

        Args:
            seconds: From its start to its end.
            cost: Of these, what training lost: waiting, and the processor's time of the writer.
        """
        self.save_seconds, self._cost = seconds, cost

    def lost(self, seconds: float) -> None:
        """Note what training lost to the last snapshot besides."""
        self._cost += seconds


def _folders(root: Path) -> list[Path]:
    """Snapshots by name, the newest first; the name alone proves nothing."""
    return sorted((path for path in root.glob("step-*") if path.is_dir()), reverse=True)
