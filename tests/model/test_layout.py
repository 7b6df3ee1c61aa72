"""Blocks of attention against the literal question who sees whom."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retain.model import layout as layouts
from retain.model.layout import ROOT, Layout

CPU = torch.device("cpu")


@st.composite
def documents(draw):
    """A tree in the order parents first, each followed by all that hangs from it."""
    nodes = []

    def grow(parent, depth):
        for _ in range(draw(st.integers(1 if parent == ROOT else 0, 3 if depth < 3 else 0))):
            nodes.append((parent, draw(st.integers(1, 9))))
            grow(len(nodes) - 1, depth + 1)

    grow(ROOT, 0)
    return tuple(nodes)


rows = st.lists(st.tuples(documents(), st.integers(0, 12)), min_size=1, max_size=4)


def literally(row, window):
    """Pairs (query, key) of the row, and (query, key) of what is kept."""
    inside, kept, start = set(), set(), 0
    for tree, seen in row:
        tokens = []  # node and position of each
        ends = []
        for number, (parent, length) in enumerate(tree):
            begin = seen if parent == ROOT else ends[parent]
            tokens += [(number, begin + offset) for offset in range(length)]
            ends.append(begin + length)
        above = [{number} for number in range(len(tree))]
        for number, (parent, _) in enumerate(tree):
            above[number] |= above[parent] if parent != ROOT else set()
        for query, (node, position) in enumerate(tokens):
            near = [] if window is None else range(position - window + 1)
            inside |= {
                (start + query, start + key)
                for key, (other, place) in enumerate(tokens)
                if other in above[node] and place <= position and place not in near
            }
            kept |= {(start + query, key) for key in range(seen) if key not in near}
        start += len(tokens)
    return inside, kept


def by_blocks(layout, window):
    found = {False: [], True: []}
    for block in layout.blocks(window, CPU):
        queries, keys = range(*block.queries), range(*block.keys)
        for q, query in enumerate(queries):
            for k, key in enumerate(keys):
                if block.causal and key > query:
                    continue
                if block.mask is None or block.mask[q, k]:
                    found[block.kept].append((query, key))
    return found


@pytest.mark.parametrize("dense", [1, 16, 1000])
@given(row=rows, window=st.none() | st.integers(1, 25))
def test_blocks_hold_each_pair_that_sees_the_other_once(dense, row, window):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "DENSE_TOKENS", dense)
        layout = Layout(tuple(tree for tree, _ in row), tuple(seen for _, seen in row))
        found = by_blocks(layout, window)
    inside, kept = literally(row, window)
    assert sorted(found[False]) == sorted(inside)
    assert sorted(found[True]) == sorted(kept)


@given(row=rows)
def test_first_blocks_come_first_and_hold_each_query_once(row):
    blocks = Layout(tuple(tree for tree, _ in row)).blocks(None, CPU)
    first = [block.is_first for block in blocks]
    assert first == sorted(first, reverse=True)
    queries = [query for block in blocks if block.is_first for query in range(*block.queries)]
    assert queries == list(range(len(queries)))


def test_what_many_hang_from_is_seen_without_a_mask():
    tree = ((ROOT, 400), *((0, 100) for _ in range(4)))
    blocks = Layout((tree,)).blocks(None, CPU)
    assert [block.queries for block in blocks if block.mask is None and not block.causal] == [
        (400, 800)
    ]
