"""What is held out of training, and what each held-out example is for.

All choices follow from the data: a source item's place is the sha256 of its name. The training seed
plays no part, order plays no part, and new rows hardly move old ones.

Items are never parted: examples of one item, and examples with equal text or equal prompt, go the
same way. Where examples have classes, classes are made equal in the held-out part, whatever they
are in the data: the class with the fewest so far gives next, and no class gives more than half of
its items.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from heapq import heapify, heappop, heappush
from typing import Any

from retain.data.example import Example
from retain.data.leak import key, texts
from retain.errors import DataError

ROLES = ("pool", "select", "report")
FRACTION = 0.1
MAX_HELD_OUT = 500
MAX_POOL = 32
POOL_FRACTION = 0.1
SELECT_FRACTION = 1 / 3
MIN_ITEMS_PER_CLASS = 4  # a label with fewer items on average is not a class but an answer


@dataclass(frozen=True)
class HeldOut:
    """How much is held out: ``count`` examples, or a fraction, then at most 500."""

    fraction: float = FRACTION
    count: int | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> "HeldOut":
        """From a recipe's ``held_out``; ``group_by`` belongs to reading and is passed over.

        Raises:
            DataError: If a value cannot be.
        """
        values = dict(settings or {})
        fraction, count = values.get("fraction"), values.get("count")
        if fraction is not None and count is not None:
            raise DataError("held_out: give either fraction or count, not both")
        if fraction is not None and not 0 < fraction < 1:
            raise DataError(f"held_out.fraction must be above 0 and below 1, got {fraction}")
        if count is not None and count < 0:
            raise DataError(f"held_out.count must be 0 or more, got {count}")
        return cls(FRACTION if fraction is None else fraction, count)

    def size(self, num_examples: int) -> int:
        """Examples to hold out of so many."""
        if self.count is not None:
            return self.count
        return min(MAX_HELD_OUT, max(1, round(self.fraction * num_examples)))


@dataclass(frozen=True)
class Split:
    """Disjoint parts of the examples, each in the order of the source.

    Attributes:
        train: To learn from.
        held_out: (role, example): ``pool`` gives few-shot examples and is never scored, ``select``
            is for choosing, ``report`` for every printed figure.
    """

    train: list[Example]
    held_out: list[tuple[str, Example]]

    def role(self, role: str) -> list[Example]:
        """The held-out examples of one role."""
        return [example for got, example in self.held_out if got == role]


def split(examples: Sequence[Example], held_out: HeldOut | None = None) -> Split:
    """Part the examples into training data and held-out roles.

    Args:
        examples: Each content once (see ``sources.load``).
        held_out: How much; None holds out 10 %, at most 500.

    Raises:
        DataError: If the data has too few items to hold out that much.
    """
    held_out = held_out or HeldOut()
    wanted = held_out.size(len(examples))
    if wanted == 0:
        return Split(list(examples), [])
    groups = _groups(examples)
    size = min(wanted, len(examples) // 2) if held_out.count is None else wanted
    taken = _take(groups, size, at_least=min(2, len(groups) // 2), at_most=0.5)
    num_taken = sum(len(group.examples) for group in taken)
    if num_taken == 0 or (held_out.count is not None and num_taken < wanted / 2):
        raise DataError(
            f"cannot hold out {wanted} of {len(examples)} examples: they belong to {len(groups)} "
            f"items, at most half of each class is held out, and that gives {num_taken}. "
            "Give more data or a smaller held_out."
        )
    role_of = _roles(taken)
    return Split(
        train=[example for example in examples if example.id not in role_of],
        held_out=[(role_of[one.id], one) for one in examples if one.id in role_of],
    )


def order(examples: Iterable[Example]) -> list[Example]:
    """The examples in a fixed order that looks random; ``limit`` takes the first N of it.

    It follows from the contents alone, so the first 100 are among the first 200.
    """
    return sorted(examples, key=lambda example: (_digest("order", example.id), example.id))


def labels_of(examples: Sequence[Example]) -> list[str]:
    """The class of each example; "" where the data has no classes.

    The ``label``, else the text of the right choice. Labels that are nearly all different, such as
    the answers to unlike questions, are not classes.
    """
    labels = [_label(example) for example in examples]
    if len(set(labels)) * MIN_ITEMS_PER_CLASS > len(examples):
        return [""] * len(examples)
    return labels


def _label(example: Example) -> str:
    if example.label is not None:
        return example.label
    if example.choices is not None and example.answer is not None:
        return example.choices[example.answer]
    return ""


def _digest(purpose: str, name: str) -> bytes:
    return sha256(f"{purpose}:{name}".encode()).digest()


# ---------------------------------------------------------------- groups


@dataclass(frozen=True)
class _Group:
    """Examples that stay together; ``rank`` puts groups in an order that looks random."""

    rank: bytes
    label: str
    examples: tuple[Example, ...]


def _groups(examples: Sequence[Example]) -> list[_Group]:
    """Examples joined by item, by equal text or by equal prompt."""
    parent = list(range(len(examples)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[object, int] = {}
    for index, example in enumerate(examples):
        for name in (example.item, *map(key, texts(example))):
            other = root(first.setdefault(name, index))
            mine = root(index)
            parent[max(mine, other)] = min(mine, other)
    members: dict[int, list[int]] = defaultdict(list)
    for index in range(len(examples)):
        members[root(index)].append(index)
    labels = labels_of(examples)
    groups = [
        _Group(
            rank=min(_digest("held out", examples[index].item) for index in indices),
            label=labels[indices[0]],
            examples=tuple(examples[index] for index in indices),
        )
        for indices in members.values()
    ]
    return sorted(groups, key=lambda group: (group.rank, group.examples[0].id))


def _take(
    groups: list[_Group], size: int, *, at_least: int = 0, at_most: float = 1
) -> list[_Group]:
    """Groups of about ``size`` examples in all, classes as equal as they can be.

    Args:
        groups: In the order in which each class gives them.
        size: Examples; a group that would go over it is passed by.
        at_least: Groups that are taken even over ``size``.
        at_most: Part of a class's groups that may be taken.
    """
    waiting: dict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        waiting[group.label].append(group)
    heap = [(0, label, iter(of[: int(len(of) * at_most)])) for label, of in waiting.items()]
    heapify(heap)
    taken: list[_Group] = []
    left = size
    while heap and (left > 0 or len(taken) < at_least):
        num, label, rest = heappop(heap)
        fitting = (g for g in rest if len(g.examples) <= left or len(taken) < at_least)
        for group in fitting:
            taken.append(group)
            left -= len(group.examples)
            heappush(heap, (num + len(group.examples), label, rest))
            break
    return taken


def _roles(taken: list[_Group]) -> dict[str, str]:
    """Example id to role. Running text has no few-shot pool."""
    total = sum(len(group.examples) for group in taken)
    is_asked = taken[0].examples[0].messages is not None
    by_rank = sorted(taken, key=lambda group: _digest("role", group.examples[0].item))
    pool = _take(by_rank, min(MAX_POOL, int(total * POOL_FRACTION))) if is_asked else []
    in_pool = {group.rank for group in pool}
    rest = [group for group in by_rank if group.rank not in in_pool]
    left = sum(len(group.examples) for group in rest)
    select = _take(rest, round(left * SELECT_FRACTION), at_least=min(1, len(rest) - 1))
    named = [("pool", pool), ("select", select)]
    roles = {one.id: name for name, of in named for group in of for one in group.examples}
    return {one.id: roles.get(one.id, "report") for group in taken for one in group.examples}
