"""Which documents of a task are scored, in which order, in which role; and which are kept as shots.

Everything follows from hashes of the documents, so it is the same in every run, at every limit,
for every model and training seed. A *source item* is what documents share (a passage, a patient):
its documents are all in one role, or all in the pool.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

MAX_POOL = 32
POOL_FRACTION = 0.1
NUM_ROLE_PARTS = 3  # one third select, two thirds report


@dataclass(frozen=True)
class Item:
    """One document that is scored.

    Attributes:
        key: Hex sha256 of the document's canonical JSON.
        source_item: What it shares with others; its own key when alone.
        role: ``select`` (choosing rate, checkpoint, arm) or ``report`` (every printed figure).
        index: Where the document stands in its split.
    """

    key: str
    source_item: str
    role: str
    index: int


@dataclass(frozen=True)
class Division:
    """How the documents of a split are used.

    Attributes:
        pool: Indices of the documents kept as shots, in the order they are drawn.
        items: The documents to score, in the fixed order, up to the limit.
        num_available: How many could be scored without a limit.
        num_duplicates: Documents left out because an equal one is there.
    """

    pool: tuple[int, ...]
    items: tuple[Item, ...]
    num_available: int
    num_duplicates: int


def limit_notes(limit: int | None, num_available: int) -> list[str]:
    """What to say where a limit is larger than the data; [] where it is not.

    >>> limit_notes(9, 5)
    ['limit 9 is larger than the data: all 5 items are scored']
    """
    if limit is None or limit <= num_available:
        return []
    return [f"limit {limit} is larger than the data: all {num_available} items are scored"]


def document_key(document: Any) -> str:
    """The sha256 of a document, the same whatever the order of its fields."""
    text = json.dumps(
        document, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str
    )
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def rank(use: str, key: str) -> str:
    """A place in the fixed random order that belongs to a use."""
    return sha256(f"{use}:{key}".encode()).hexdigest()


def role(source_item: str) -> str:
    """``select`` for one source item of three, else ``report``."""
    return "report" if int(rank("role", source_item), 16) % NUM_ROLE_PARTS else "select"


def divide(
    keys: Sequence[str],
    source_items: Sequence[str],
    *,
    keep_pool: bool,
    limit: int | None = None,
) -> Division:
    """Set the pool aside and put the rest in order.

    Args:
        keys: ``document_key`` of each document of the split.
        source_items: What each document belongs to.
        keep_pool: Shots come from this same split: set min(32, 10 %) documents aside, with
            everything that shares a source item with them, whether or not shots are asked for.
        limit: Score only the first so many; None scores all.
    """
    kept: dict[str, int] = {}
    for index, key in enumerate(keys):  # of equal documents one, whatever their order
        if key not in kept or source_items[index] < source_items[kept[key]]:
            kept[key] = index
    unique = sorted(kept.values())
    pool: list[int] = []
    if keep_pool:
        size = min(MAX_POOL, int(len(unique) * POOL_FRACTION))
        pool = sorted(unique, key=lambda i: rank("pool", keys[i]))[:size]
    kept_out = {source_items[i] for i in pool}
    scored = [i for i in unique if source_items[i] not in kept_out]
    scored.sort(key=lambda i: rank("order", keys[i]))
    items = tuple(Item(keys[i], source_items[i], role(source_items[i]), i) for i in scored[:limit])
    return Division(tuple(pool), items, len(scored), len(keys) - len(unique))
