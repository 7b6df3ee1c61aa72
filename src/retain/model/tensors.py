"""The weights in a model folder, read from disk one tensor at a time."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from retain.errors import ModelError


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
