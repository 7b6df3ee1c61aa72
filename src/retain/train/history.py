"""The weights of earlier checkpoints, read from disk one tensor at a time."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from retain.errors import ModelError
from retain.methods.base import History
from retain.steps.work import Work

CHECKPOINT = "checkpoint:"


class FolderTensors(Mapping[str, Tensor]):
    """The tensors of a model folder by name; each is read when asked for, and not kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _files(self) -> dict[str, Path]:
        files = sorted(self._folder.glob("*.safetensors"))
        if not files:
            raise ModelError(f"{self._folder}: no *.safetensors weights")
        named = {}
        for file in files:
            with safe_open(file, framework="pt") as opened:
                named.update(dict.fromkeys(opened.keys(), file))
        return named

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self._files[name], framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
            return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def history(work: Work, base: Path, last: tuple[str, Path] | None = None) -> History:
    """The base model and the checkpoints that are inputs of a step, oldest first.

    Roles are ``checkpoint:<phase>``, their order is ``settings["history"]`` (phase names).

    Args:
        work: The running step.
        base: The base model's folder.
        last: Phase and folder of a checkpoint to put at the end.
    """
    phases = [str(phase) for phase in work.step.settings.get("history") or ()]
    folders = {phase: work.input(f"{CHECKPOINT}{phase}", "model") for phase in phases}
    if last is not None:
        folders[last[0]] = last[1]
    return History(
        base=FolderTensors(base),
        checkpoints={phase: FolderTensors(folder) for phase, folder in folders.items()},
    )
