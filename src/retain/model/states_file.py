"""States kept on disk by a name each: appended as they are made, read where they lie.

``states.bin`` holds rows of D numbers end to end, ``index.jsonl`` a line per stretch (its name and
its tokens) in the same order, ``form.json`` the width and the type of the numbers. A stretch counts
once its line is whole, so a killed writer goes on after the last one.

Shapes: T tokens of a stretch, D width.
"""

import json
import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

StoredType = Literal["fp32", "bf16"]
BYTES = {"fp32": 4, "bf16": 2}
NUMPY = {"fp32": np.float32, "bf16": np.int16}  # numpy has no bfloat16: its bits
STATES, INDEX, FORM = "states.bin", "index.jsonl", "form.json"
FILES = (STATES, INDEX, FORM)


def token_key(tokens: npt.ArrayLike) -> str:
    """The name of the states of a sequence that stands alone."""
    return sha256(np.asarray(tokens, np.int64).tobytes()).hexdigest()[:32]


class StatesWriter:
    """Appends states to the files of a folder, after what a former process left there."""

    def __init__(self, folder: Path, width: int, stored: StoredType) -> None:
        self.folder, self._bytes, self._stored = folder, width * BYTES[stored], stored
        (folder / FORM).write_text(json.dumps({"width": width, "stored": stored}), "utf-8")
        self.keys = self._whole()

    def put(self, stretches: Sequence[tuple[str, Tensor]]) -> None:
        """Add stretches that are not there yet; they survive a kill from here on."""
        new = [(key, states_TD) for key, states_TD in stretches if key not in self.keys]
        dtype = torch.float32 if self._stored == "fp32" else torch.bfloat16
        with (self.folder / STATES).open("ab") as file:
            for _, states_TD in new:
                numbers = states_TD.detach().to("cpu", dtype).contiguous()
                bits = numbers if dtype == torch.float32 else numbers.view(torch.int16)
                file.write(bits.numpy().tobytes())
            _flush(file)
        with (self.folder / INDEX).open("a", encoding="utf-8") as lines:
            for key, states_TD in new:
                lines.write(json.dumps([key, len(states_TD)]) + "\n")
            _flush(lines)
        self.keys.update(key for key, _ in new)

    def _whole(self) -> set[str]:
        """The keys whose states are all there; what is torn behind them is cut off."""
        states, index = self.folder / STATES, self.folder / INDEX
        states.touch()
        index.touch()
        lines = list(_lines(index))
        there = states.stat().st_size
        ends = accumulate(length * self._bytes for _, length in lines)
        kept = sum(1 for end in ends if end <= there)
        text = "".join(json.dumps(line) + "\n" for line in lines[:kept])
        index.write_text(text, "utf-8")
        os.truncate(states, sum(length for _, length in lines[:kept]) * self._bytes)
        return {key for key, _ in lines[:kept]}


class KeptStates:
    """States read from the files of a finished step; only what is asked for comes into memory."""

    def __init__(self, folder: Path) -> None:
        form = json.loads((folder / FORM).read_text("utf-8"))
        self.stored: StoredType = form["stored"]
        lines = list(_lines(folder / INDEX))
        ends = list(accumulate(length for _, length in lines))
        self._places = {
            key: (end - length, end) for (key, length), end in zip(lines, ends, strict=True)
        }
        shape = (ends[-1] if ends else 0, form["width"])
        kind = NUMPY[self.stored]
        self._numbers = (
            np.memmap(folder / STATES, kind, "r", shape=shape) if ends else np.empty(shape, kind)
        )

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def get(self, key: str) -> Tensor:
        """States [T, D] in memory, in the type they are stored in.

        Raises:
            KeyError: If none of this name were kept.
        """
        begin, end = self._places[key]
        numbers = torch.from_numpy(np.array(self._numbers[begin:end]))
        return numbers if self.stored == "fp32" else numbers.view(torch.bfloat16)


def size_bytes(num_tokens: int, width: int, stored: StoredType) -> int:
    """What the states of so many tokens take on disk."""
    return num_tokens * width * BYTES[stored]


def _lines(path: Path) -> Iterator[tuple[str, int]]:
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return
        key, length = json.loads(line)
        yield key, length


def _flush(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
