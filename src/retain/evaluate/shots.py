"""Which examples stand in the prompt, and whose answers stand behind them.

The first draw takes the pool as it is kept, others in an order of their own; within a draw shots
nest. In the control each example has the answer of another one of the pool, so that form and
answers stay as they are and only what belongs together is lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retain.errors import TaskError
from retain.evaluate.items import rank


@dataclass(frozen=True, order=True)
class Shots:
    """One way to take examples from the pool.

    Attributes:
        draw: 0 is the pool's own order.
        shuffled: Whether their answers are permuted.
    """

    draw: int = 0
    shuffled: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Shots":
        """From the settings of a step, which say nothing of the first draw."""
        return cls(**settings.get("shots", {}))

    @property
    def settings(self) -> dict[str, Any]:
        """What a step's settings say of it; {} of the first draw with its own answers."""
        if self == Shots():
            return {}
        return {"shots": {"draw": self.draw, "shuffled": self.shuffled}}


FIRST = Shots()


def drawn(keys: Sequence[str], draw: int) -> list[int]:
    """The order in which a draw takes the documents of a pool with these keys.

    >>> drawn(["a", "b", "c"], 0), sorted(drawn(["a", "b", "c"], 1))
    ([0, 1, 2], [0, 1, 2])
    """
    order = list(range(len(keys)))
    return order if draw == 0 else sorted(order, key=lambda i: rank(f"draw {draw}", keys[i]))


def donors(name: str, keys: Sequence[str], draw: int) -> list[int]:
    """Of each document of a pool, the one whose answer it gets: in a random ring, the next.

    None keeps its own; it may get an equal one. The same at every number of shots.

    Raises:
        TaskError: If the pool has fewer than two documents.

    >>> all(place != donor for place, donor in enumerate(donors("sums", ["a", "b", "c"], 0)))
    True
    """
    if len(keys) < 2:
        raise TaskError(
            f"{name}: answers cannot be permuted, its pool of examples has {len(keys)}; hold out "
            "more, or leave evaluate.fewshot_control out"
        )
    ring = sorted(range(len(keys)), key=lambda i: rank(f"answers {draw}", keys[i]))
    next_of = dict(zip(ring, [*ring[1:], ring[0]], strict=True))
    return [next_of[place] for place in range(len(keys))]
