"""Where documents lie in a row of tokens, and who sees whom, cut into blocks that attend densely.

Many documents lie end to end in one row. Each is a *tree*: nodes are stretches of tokens, and a
token sees its own node so far and the nodes above it, never a sibling. A document may go on from
tokens that were computed before and are *kept*; it sees the first so many of them.

One mask over a whole row would cost the square of its length. So what a document sees is cut into
blocks of queries and keys: a node that much hangs from is seen by all of it without a mask, and
only small trees are masked. The parts of a query's attention are put together by their normalisers.

Shapes: T tokens of a row, Q queries and K keys of a block, N nodes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, groupby
from operator import itemgetter

import torch

ROOT = -1
DENSE_TOKENS = 128  # a tree of so many tokens is one masked block
NOTHING = -1e30  # the normaliser of a query that sees no key of a block

Tree = tuple[tuple[int, int], ...]
"""Nodes of one document, parents first, each followed by all that hangs from it: index of the
parent (``ROOT`` for none), tokens."""


@dataclass(frozen=True)
class Block:
    """Queries that attend to keys.

    Attributes:
        queries: First and one behind the last token of the row.
        keys: The same for the keys, among the row's tokens or the kept ones.
        is_first: Queries and keys are the same tokens, and no block before it had them.
        kept: Whether the keys are kept ones.
        causal: Each query sees the keys up to its own place.
        mask: Who sees whom [Q, K]; None where ``causal`` says it, or all see all.
    """

    queries: tuple[int, int]
    keys: tuple[int, int]
    is_first: bool = False
    kept: bool = False
    causal: bool = False
    mask: torch.Tensor | None = None
    _biases: dict[torch.dtype, torch.Tensor] = field(default_factory=dict)

    def bias(self, dtype: torch.dtype) -> torch.Tensor | None:
        """The mask as what is added to scores; finite, so that a query may see no key at all."""
        if self.mask is None:
            return None
        if dtype not in self._biases:
            hidden = max(NOTHING, torch.finfo(dtype).min / 2)
            bias_QK = torch.zeros(self.mask.shape, dtype=dtype, device=self.mask.device)
            self._biases[dtype] = bias_QK.masked_fill_(~self.mask, hidden)
        return self._biases[dtype]


@dataclass(frozen=True)
class Layout:
    """Where the documents of one row lie, and how each is divided.

    Attributes:
        documents: A tree for each document, in the order of the row; the tokens of a document lie
            node after node.
        seen: How many kept tokens each document goes on from; empty for none.
    """

    documents: tuple[Tree, ...]
    seen: tuple[int, ...] = ()

    @classmethod
    def of_documents(cls, lengths: Sequence[int]) -> "Layout":
        """The layout of plain documents, each seeing only itself."""
        return cls(tuple(((ROOT, length),) for length in lengths))

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each document."""
        return tuple(sum(length for _, length in tree) for tree in self.documents)

    @cached_property
    def is_plain(self) -> bool:
        """Whether each document is one stretch of tokens that goes on from nothing."""
        return all(len(tree) == 1 for tree in self.documents) and not any(self.seen)

    def positions(self) -> list[int]:
        """Position of each token: a document starts where what it goes on from ends.

        >>> Layout((((-1, 3), (0, 2), (0, 1)),)).positions()
        [0, 1, 2, 3, 4, 3]
        >>> Layout((((-1, 2),),), seen=(5,)).positions()
        [5, 6]
        """
        positions: list[int] = []
        for tree, before in zip(self.documents, self._seen, strict=True):
            ends: list[int] = []
            for parent, length in tree:
                start = before if parent == ROOT else ends[parent]
                positions.extend(range(start, start + length))
                ends.append(start + length)
        return positions

    @property
    def _seen(self) -> tuple[int, ...]:
        return self.seen or (0,) * len(self.documents)

    def blocks(self, window: int | None, device: torch.device) -> list[Block]:
        """What makes up the attention of the row.

        Args:
            window: How far a token looks back, itself included; None looks all the way.
            device: Where the masks go.
        """
        maker = _Maker(torch.tensor(self.positions()), window, device)
        found: list[Block] = []
        start = 0
        for tree, length in zip(self.documents, self.lengths, strict=True):
            found += maker.within(tree, start)
            start += length
        start = 0
        for seen, group in groupby(zip(self._seen, self.lengths, strict=True), itemgetter(0)):
            end = start + sum(length for _, length in group)
            if seen and end > start:
                found += maker.on_kept((start, end), seen)
            start = end
        return sorted(found, key=lambda block: (not block.is_first, block.queries))


class _Maker:
    """Cuts documents into blocks."""

    def __init__(self, positions_T: torch.Tensor, window: int | None, device: torch.device) -> None:
        self.positions_T, self.window, self.device = positions_T, window, device

    def within(self, tree: Tree, start: int) -> Iterator[Block]:
        """What the tokens of one document see of each other."""
        nodes = _Nodes(tree, start)
        left = [nodes.roots]
        while left:
            for group in nodes.groups(left.pop()):
                first, last = group[0], group[-1]
                begin, end = nodes.starts[first], nodes.starts[last] + nodes.sizes[last]
                if len(group) == 1 and not nodes.children[first]:
                    yield self._own(begin, end)
                elif end - begin <= DENSE_TOKENS:
                    yield self._dense(nodes.between(first, last), begin, end)
                else:
                    node_end = begin + tree[first][1]
                    yield self._own(begin, node_end)
                    position_K = self.positions_T[begin:node_end]
                    yield from self._far((node_end, end), (begin, node_end), position_K)
                    left.append(nodes.children[first])

    def on_kept(self, queries: tuple[int, int], seen: int) -> Iterator[Block]:
        """Tokens, and the kept ones that they go on from."""
        for block in self._far(queries, (0, seen), torch.arange(seen)):
            yield replace(block, kept=True)

    def _own(self, begin: int, end: int) -> Block:
        """A node's tokens and themselves."""
        place = (begin, end)
        if self.window is None or end - begin <= self.window:
            return Block(place, place, is_first=True, causal=True)
        order = torch.arange(end - begin)
        distance = order[:, None] - order[None, :]
        seen_QK = (distance >= 0) & (distance < self.window)
        return Block(place, place, is_first=True, mask=seen_QK.to(self.device))

    def _dense(self, tree: Tree, begin: int, end: int) -> Block:
        """Small trees under one mask."""
        above_NN = torch.eye(len(tree), dtype=torch.bool)
        for node, (parent, _) in enumerate(tree):
            if parent != ROOT:
                above_NN[node] |= above_NN[parent]
        lengths = torch.tensor([length for _, length in tree])
        node_Q = torch.repeat_interleave(torch.arange(len(tree)), lengths)
        order_Q = torch.arange(end - begin)
        seen_QK = above_NN[node_Q][:, node_Q] & (order_Q[:, None] >= order_Q[None, :])
        if self.window is not None:
            position_Q = self.positions_T[begin:end]
            seen_QK &= position_Q[:, None] - position_Q[None, :] < self.window
        place = (begin, end)
        return Block(place, place, is_first=True, mask=seen_QK.to(self.device))

    def _far(
        self, queries: tuple[int, int], keys: tuple[int, int], position_K: torch.Tensor
    ) -> Iterator[Block]:
        """Queries that stand behind all keys: no mask unless a window ends between them."""
        position_Q = self.positions_T[slice(*queries)]
        if self.window is None or int(position_Q.max() - position_K[0]) < self.window:
            yield Block(queries, keys)
            return
        out_of_sight = int(position_Q.min()) - self.window + 1 - int(position_K[0])
        position_K = position_K[max(out_of_sight, 0) :]
        if len(position_K):
            seen_QK = position_Q[:, None] - position_K[None, :] < self.window
            keys = (keys[1] - len(position_K), keys[1])
            yield Block(queries, keys, mask=seen_QK.to(self.device))


class _Nodes:
    """A tree with what its cutting needs.

    Attributes:
        tree: Its nodes.
        starts: Where the tokens of each begin in the row.
        sizes: Tokens of each with all that hangs from it.
        children: What hangs from each.
        roots: Nodes that hang from none.
    """

    def __init__(self, tree: Tree, start: int) -> None:
        self.tree = tree
        self.starts = list(accumulate((length for _, length in tree[:-1]), initial=start))
        self.sizes = [length for _, length in tree]
        self.children: list[list[int]] = [[] for _ in tree]
        self.roots: list[int] = []
        for node, (parent, _) in enumerate(tree):
            (self.roots if parent == ROOT else self.children[parent]).append(node)
        for node in range(len(tree) - 1, -1, -1):
            if tree[node][0] != ROOT:
                self.sizes[tree[node][0]] += self.sizes[node]

    def groups(self, siblings: Sequence[int]) -> Iterator[list[int]]:
        """Neighbours that together are small enough for one masked block."""
        group: list[int] = []
        size = 0
        for node in siblings:
            if group and size + self.sizes[node] > DENSE_TOKENS:
                yield group
                group, size = [], 0
            group.append(node)
            size += self.sizes[node]
        if group:
            yield group

    def between(self, first: int, last: int) -> Tree:
        """Siblings and all that hangs from them, as a tree of their own."""
        while self.children[last]:
            last = self.children[last][-1]
        return tuple(
            (parent - first if parent >= first else ROOT, length)
            for parent, length in self.tree[first : last + 1]
        )
