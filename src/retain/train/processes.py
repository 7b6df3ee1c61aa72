"""How many processes train a phase; said without loading torch."""

from typing import NamedTuple


class Processes(NamedTuple):
    """How a train step is carried out.

    Attributes:
        number: Of processes that train it together.
        shard: Whether each keeps a part of every block; else all of the model.
    """

    number: int = 1
    shard: bool = False
