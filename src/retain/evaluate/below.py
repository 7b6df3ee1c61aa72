"""What a model's lowest blocks make of the rows of an evaluation, kept from phase to phase.

Where a phase froze them, the next evaluation of the same task computes only what lies above. States
are kept by row: the plan of rows follows from the requests alone, so every checkpoint meets the
same ones. A row's key says its tokens, its trees and the kept tokens that it goes on from.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from retain.decode.prefix_tree import Row, Tokens
from retain.errors import TaskError
from retain.model.adapters import is_adapted
from retain.model.boundary import Boundary, answers_with_states, depth_below
from retain.model.layers import places
from retain.model.states_file import KeptStates, StatesWriter

FACTS = "boundary.json"
TOLERANCE = {"fp32": 1e-3, "bf16": 3e-2}  # of the largest state; other weights are far off


class Recorder:
    """Takes the states that pass a boundary and writes them down."""

    def __init__(self, boundary: Boundary, writer: StatesWriter) -> None:
        self._boundary, self._writer = boundary, writer

    def has(self, keys: Sequence[str]) -> bool:
        """Whether all of these are written."""
        return self._writer.keys.issuperset(keys)

    def take(self, key: str, call: Callable[[], Any]) -> Tensor:
        """The states [T, D] that pass the boundary in a call, which goes no further."""
        states_TD = self._boundary.take(call)[0]
        self._writer.put([(key, states_TD)])
        return states_TD


class Below:
    """Kept states of one model's lowest blocks, given to it instead of being computed."""

    def __init__(self, model: Any, depth: int, folder: Path) -> None:
        self._kept = KeptStates(folder)
        self._boundary = Boundary(model, depth)
        self._device = model.device
        self._checked = False

    def covers(self, rows: Sequence[Row]) -> bool:
        """Whether there is something for every row of a plan."""
        return all(key in self._kept for row in rows for key in row_keys(row))

    @contextmanager
    def given(self, key: str) -> Iterator[None]:
        """Inside, the model computes what lies above, for the row of this key."""
        with self._boundary.given(self._kept.get(key).to(self._device)):
            yield

    def check(self, key: str, call: Callable[[], Any]) -> None:
        """Make sure, once, that what is kept is what this model makes of the row's beginning.

        All of a row would cost as much as a small evaluation saves.

        Args:
            key: Of the row.
            call: Runs the model on the first tokens of the row.

        Raises:
            TaskError: If it is not.
        """
        if self._checked:
            return
        expected = self._boundary.take(call)[0]
        kept = self._kept.get(key)[: len(expected)].to(expected)
        off = float((kept - expected).abs().max() / expected.abs().max())
        if not off <= TOLERANCE[self._kept.stored]:
            raise TaskError(
                f"the kept states of the lowest blocks are not this model's (off by {off:.1e} of "
                "the largest); set boundary_cache: false for its phases and report it"
            )
        self._checked = True


def row_keys(row: Row) -> list[str]:
    """The keys of the stretches that a row goes on from, and its own, the last, if it has tokens.

    >>> len(row_keys(Row((), kept=((1, 2), (3,)))))
    2
    """
    keys = [stretch_key(row.kept[: number + 1]) for number in range(len(row.kept))]
    if row.num_tokens:
        trees = [[document.seen, document.nodes] for document in row.documents]
        keys.append(_digest([keys[-1:], trees]))
    return keys


def stretch_key(stretches: Sequence[Tokens]) -> str:
    """The key of the last of these stretches, each of which goes on from the one before it."""
    return _digest(["stretch", stretches])


def lowest_depth(model: Any, chosen: Sequence[Path]) -> int:
    """How many lowest blocks none of these choices of parameters lets move.

    0 where their states cannot be given back: with adapters, an encoder, blocks that answer with
    more than states.

    Args:
        model: The model.
        chosen: Files ``trainable.json``.
    """
    if is_adapted(model) or model.config.is_encoder_decoder:
        return 0
    found = places(model)
    names = [json.loads(path.read_text("utf-8"))["names"] for path in chosen]
    depth = min(depth_below(found, moving) for moving in names)
    return depth if depth and answers_with_states(model) else 0


def _digest(value: Any) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()[:32]
