from collections import Counter
from itertools import chain, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.data.draw import NewSource, Part, TokenSequence, endless, generator
from retain.data.render import Tokens
from retain.errors import DataError
from tests.data.sequences import many, names, part, sequence

lengths = st.lists(st.integers(2, 30), min_size=1, max_size=25)
seeds = st.integers(0, 5)


def test_a_sequence_is_packed_and_counted():
    packed = TokenSequence.of("a", Tokens([7, 8, 9], [False, True, True]))
    assert list(packed.input_ids) == [7, 8, 9]
    assert list(packed.trained) == [0, 1, 1]
    assert (packed.num_tokens, packed.num_trained) == (3, 2)


def test_generators_are_of_one_s_own():
    state = Random(0).getstate()
    first = [generator(0, "a").random() for _ in range(2)]
    assert first[0] == first[1]
    assert len({generator(*of).random() for of in [(0, "a"), (1, "a"), (0, "b")]}) == 3
    assert Random(0).getstate() == state


@given(lengths=lengths, seed=seeds, batch_size=st.integers(1, 6), epochs=st.integers(1, 3))
@settings(deadline=None)
def test_epochs_hold_every_example_once_each_and_keep_the_last_partial_batch(
    lengths, seed, batch_size, epochs
):
    steps, begun = part(many("n", lengths), batch_size=batch_size, num_train_epochs=epochs).batches(
        seed
    )
    per_epoch = -(-len(lengths) // batch_size)
    assert (len(steps), begun) == (epochs * per_epoch, epochs)
    for number in range(epochs):
        epoch = steps[number * per_epoch : (number + 1) * per_epoch]
        assert sorted(names(chain(*epoch))) == sorted(f"n{n}" for n in range(len(lengths)))
        assert all(len(step) == batch_size for step in epoch[:-1])


@given(lengths=lengths, seed=seeds, max_steps=st.integers(1, 20))
@settings(deadline=None)
def test_steps_are_filled_by_going_on_into_the_next_epoch(lengths, seed, max_steps):
    steps, begun = part(many("n", lengths), batch_size=3, max_steps=max_steps).batches(seed)
    assert len(steps) == max_steps
    assert all(len(step) == 3 for step in steps)
    counts = Counter(names(chain(*steps)))
    assert max(counts.values()) - min(counts.values()) <= 1 or len(counts) < len(lengths)
    assert begun >= -(-3 * max_steps // len(lengths))


@given(lengths=lengths, seed=seeds, batch_tokens=st.integers(4, 60))
@settings(deadline=None)
def test_token_batches_never_cut_nor_overflow(lengths, seed, batch_tokens):
    steps, _ = part(many("n", lengths), batch_tokens=batch_tokens).batches(seed)
    for step in steps:
        size = sum(pick.sequence.num_tokens for pick in step)
        assert size <= batch_tokens or len(step) == 1
    for step, after in pairwise(steps):
        assert sum(p.sequence.num_tokens for p in [*step, after[0]]) > batch_tokens
    assert sum(map(len, steps)) == len(lengths)


@given(lengths=lengths, seed=seeds, most=st.integers(1, 40))
@settings(deadline=None)
def test_batches_of_trained_tokens_never_cut_nor_overflow(lengths, seed, most):
    own = [
        TokenSequence(one.example_id, one.input_ids, bytes(n % 3 == 1 for n in range(length)))
        for one, length in zip(many("n", lengths), lengths, strict=True)
    ]
    steps, _ = part(own, batch_trained_tokens=most).batches(seed)
    sizes = [sum(pick.sequence.num_trained for pick in step) for step in steps]
    assert all(size <= most or len(step) == 1 for size, step in zip(sizes, steps, strict=True))
    for size, after in zip(sizes, steps[1:], strict=False):
        assert size + after[0].sequence.num_trained > most
    assert sum(map(len, steps)) == len(lengths)


def test_epochs_are_permutations_of_their_own():
    steps, _ = part(many("n", [4] * 50), batch_size=50, num_train_epochs=3).batches(0)
    assert len({tuple(names(step)) for step in steps}) == 3
    assert part(many("n", [4] * 50), batch_size=50).batches(0)[0] == steps[:1]
    assert part(many("n", [4] * 50), batch_size=50).batches(1)[0] != steps[:1]


def test_a_part_of_an_epoch():
    steps, begun = part(many("n", [4] * 10), num_train_epochs=1.5).batches(0)
    assert ([len(step) for step in steps], begun) == ([2] * 7 + [1], 2)


def test_endless_starts_anywhere():
    sequences = many("n", [4] * 7)
    drawn = endless("s", sequences, "s", 0)
    whole = [next(drawn).sequence.example_id for _ in range(20)]
    for start in (0, 3, 7, 12):
        later = endless("s", sequences, "s", 0, start=start)
        assert [next(later).sequence.example_id for _ in range(20 - start)] == whole[start:]
    assert sorted(whole[:7]) == sorted(names_of(sequences))


def names_of(sequences):
    return [one.example_id for one in sequences]


def shared(shares, sizes, **length):
    sources = [
        NewSource(f"s{n}", many(f"s{n}-", [4] * size), share)
        for n, (share, size) in enumerate(zip(shares, sizes, strict=True))
    ]
    return Part(role="new", sources=sources, **({"batch_size": 5, "num_train_epochs": 1} | length))


@pytest.mark.parametrize(
    ("shares", "sizes", "quotas"),
    [
        ([None, 0.2], [80, 30], [80, 20]),
        ([None, None, 0.5], [20, 20, 60], [20, 20, 40]),
        ([0.75, 0.25], [60, 100], [60, 20]),
        ([None, 0.25, 0.25], [50, 50, 50], [50, 25, 25]),
    ],
)
def test_shares_of_the_phase_s_own_data(shares, sizes, quotas):
    own = shared(shares, sizes)
    assert list(own.quotas.values()) == quotas
    counts = Counter(pick.source for pick in chain(*own.batches(0)[0]))
    assert [counts[f"s{n}"] for n in range(len(quotas))] == quotas


def test_own_shares_are_spread_evenly_and_go_on_through_the_source():
    own = shared([None, 0.2], [40, 35], num_train_epochs=3)
    steps, _ = own.batches(0)
    assert all(Counter(p.source for p in step) == {"s0": 4, "s1": 1} for step in steps)
    counts = Counter(p.sequence.example_id for step in steps for p in step if p.source == "s1")
    assert len(counts) == 30
    longer, _ = shared([None, 0.2], [40, 35], num_train_epochs=None, max_steps=30).batches(0)
    assert longer == steps


@pytest.mark.parametrize(
    ("shares", "sizes", "message"),
    [
        ([0.5, 0.4], [10, 10], "must add up to 1; they add up to 0.9"),
        ([None, 0.5, 0.5], [10, 10, 10], "leaves nothing for s0"),
        ([None, 0.5], [10, 5], "asked for 10 .* has 5, which reaches 0.25"),
        ([None, 0.01], [10, 5], "asked for 0"),
    ],
)
def test_own_shares_that_cannot_be(shares, sizes, message):
    with pytest.raises(DataError, match=message):
        shared(shares, sizes).batches(0)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ({"batch_size": 2}, "either max_steps or num_train_epochs, got neither"),
        ({"batch_size": 2, "batch_tokens": 3, "max_steps": 1}, "got batch_size and batch_tokens"),
        ({"batch_size": 0, "max_steps": 1}, "batch_size must be above 0"),
        ({"batch_size": 1, "num_train_epochs": -1.0}, "num_train_epochs must be above 0"),
    ],
)
def test_lengths_that_cannot_be(length, message):
    with pytest.raises(DataError, match=message):
        Part(role="new", sources=[NewSource("new", [sequence("a")])], **length)
    with pytest.raises(DataError, match="nothing to train on"):
        part([])
