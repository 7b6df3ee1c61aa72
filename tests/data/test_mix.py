from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from retain.data.draw import NewSource, Part
from retain.data.extras import Extra
from retain.data.mix import mix
from retain.errors import DataError
from tests.data.sequences import many, part, sequence

lengths = st.lists(st.integers(2, 30), min_size=4, max_size=40)
seeds = st.integers(0, 5)
units = st.sampled_from(["examples", "trained_tokens"])


def extra(name="old", num=200, share=0.2, length=5, **options):
    return Extra(name, many(f"{name}-", [length] * num), share, **options)


def ids(mixed, source=None):
    return [r.sequence.example_id for r in mixed.rows if source in (None, r.source)]


def steps(mixed, source=None):
    """Ids by optimizer step."""
    found = [[] for _ in range(mixed.num_steps)]
    for row in mixed.rows:
        if source in (None, row.source):
            found[row.step].append(row.sequence.example_id)
    return found


@given(lengths=lengths, seed=seeds, shares=st.lists(st.floats(0.02, 0.4), min_size=1, max_size=3))
@settings(deadline=None)
def test_no_new_example_is_lost_or_moved_and_shares_add_up(lengths, seed, shares):
    assume(sum(shares) < 0.95)
    assume(all(share * len(lengths) > 1 for share in shares))
    new = many("n", lengths)
    extras = [extra(f"x{n}", 2000, share) for n, share in enumerate(shares)]
    alone, mixed = mix([part(new)], [], seed=seed), mix([part(new)], extras, seed=seed)
    assert steps(mixed, "new") == steps(alone)
    total = len(mixed.rows)
    for n, share in enumerate(shares):
        assert abs(len(ids(mixed, f"x{n}")) - share * total) <= 0.5 + 1e-6
        assert len(set(ids(mixed, f"x{n}"))) == len(ids(mixed, f"x{n}"))


@given(
    lengths=st.lists(st.integers(2, 30), min_size=12, max_size=40),
    seed=seeds,
    share=st.floats(0.2, 0.4),
    more=st.floats(0, 0.3),
    unit=units,
)
@settings(deadline=None)
def test_a_smaller_share_is_the_beginning_of_a_larger_one(lengths, seed, share, more, unit):
    new = many("n", lengths)
    fewer, many_ = (
        mix([part(new)], [extra(num=1000, share=s, share_of=unit)], seed=seed)
        for s in (share, share + more)
    )
    picks = sorted(ids(fewer, "old"), key=ids(many_, "old").index)
    assert set(picks) <= set(ids(many_, "old"))
    both = mix(
        [part(new)],
        [extra(num=1000, share=share, share_of=unit), extra("other", 1000, 0.3, share_of=unit)],
        seed=seed,
    )
    assert set(picks) <= set(ids(both, "old"))


@given(lengths=lengths, seed=seeds, share=st.floats(0.05, 0.8), length=st.integers(2, 9))
@settings(deadline=None)
def test_a_share_of_trained_tokens_is_met_to_one_example(lengths, seed, share, length):
    of = extra(num=3000, share=share, length=length, share_of="trained_tokens")
    assume(share * (sum(lengths) - len(lengths)) > length)
    mixed = mix([part(many("n", lengths))], [of], seed=seed)
    tokens = mixed.sources["old"]["trained_tokens"]
    total = sum(fact["trained_tokens"] for fact in mixed.sources.values())
    assert abs(tokens - share * total) <= length - 1
    assert mixed.sources["old"]["realised_share"]["trained_tokens"] == tokens / total


def test_a_share_of_the_new_data_may_be_above_one():
    of = extra(num=50, share=1.5, share_base="new_data")
    mixed = mix([part(many("n", [4] * 20))], [of], seed=0)
    assert len(ids(mixed, "old")) == 30
    both = mix([part(many("n", [4] * 20))], [of, extra("x", share=0.5)], seed=0)
    assert (len(ids(both, "old")), len(ids(both, "x"))) == (30, 50)


@given(num=st.integers(4, 60), seed=seeds, share=st.floats(0.05, 0.6))
@settings(deadline=None)
def test_extra_examples_are_dealt_evenly(num, seed, share):
    assume(share * num > 1)
    mixed = mix([part(many("n", [4] * 2 * num))], [extra(num=2000, share=share)], seed=seed)
    counts = [len(step) for step in steps(mixed, "old")]
    assert max(counts) - min(counts) <= 1


def test_the_same_seed_gives_the_same_mix_and_another_one_another():
    def once(seed):
        return mix([part(many("n", [4] * 30))], [extra()], seed=seed)

    assert once(0) == once(0)
    assert ids(once(0)) != ids(once(1))


def test_a_source_is_drawn_alike_whatever_else_is_mixed():
    new = [part(many("n", [4] * 30))]
    alone, both = mix(new, [extra()], seed=0), mix(new, [extra("a"), extra()], seed=0)
    assert set(ids(alone, "old")) < set(ids(both, "old"))


@given(
    lengths=st.lists(st.integers(2, 30), min_size=12, max_size=40),
    seed=seeds,
    share=st.floats(0.1, 0.5),
    unit=units,
)
@settings(deadline=None)
def test_the_same_total_keeps_steps_and_trained_tokens(lengths, seed, share, unit):
    new = [part(many("n", lengths), max_steps=4, batch_size=len(lengths) // 3)]
    alone = mix(new, [], seed=seed, budget="same_total_tokens")
    of = extra(num=3000, share=share, share_of=unit)
    mixed = mix(new, [of], seed=seed, budget="same_total_tokens")
    tokens = [sum(row.sequence.num_trained for row in one.rows) for one in (alone, mixed)]
    longest = max(lengths) + 5 * (1 + share / (1 - share) * max(lengths))
    assert 0 <= tokens[0] - tokens[1] <= longest
    assert mixed.num_steps == alone.num_steps == 4
    assert all(steps(mixed))
    kept = ids(mixed, "new")
    assert kept == ids(alone)[: len(kept)]
    got = mixed.sources["old"]["realised_share"][unit]
    assert got == pytest.approx(share, abs=0.06)


@given(
    lengths=st.lists(st.integers(6, 12), min_size=12, max_size=40),
    seed=seeds,
    share=st.floats(0.15, 0.4),
    part_written=st.floats(0, 0.4),
)
@settings(deadline=None)
def test_the_same_computing_includes_what_writing_took(lengths, seed, share, part_written):
    new = [part(many("n", lengths), max_steps=4, batch_size=len(lengths) // 3)]
    alone = mix(new, [], seed=seed)
    whole = 3 * sum(row.sequence.num_tokens for row in alone.rows)
    written = int(part_written * whole)
    options = {"seed": seed, "budget": "same_total_compute"}
    mixed = mix(new, [extra(num=3000, share=share)], written=written, **options)
    passes = written + 3 * sum(row.sequence.num_tokens for row in mixed.rows)
    assert 0 <= whole - passes <= 3 * (max(lengths) + 5 * (1 + share / (1 - share)))
    assert mixed.num_steps == 4
    assert all(steps(mixed))
    kept = ids(mixed, "new")
    assert kept == ids(alone)[: len(kept)]
    free = mix(new, [extra(num=3000, share=share)], **options)  # such as old data: more of both
    assert kept == ids(free, "new")[: len(kept)]


def test_writing_that_takes_all_the_computing_is_refused_with_the_figures():
    new = [part(many("n", [4] * 20))]
    with pytest.raises(DataError, match=r"of 240 token passes.* writing took 239; .*num_tokens"):
        mix(new, [extra()], seed=0, budget="same_total_compute", written=239)


@pytest.mark.parametrize("budget", ["same_total_tokens", "same_total_compute"])
def test_the_same_total_without_extras_is_the_plain_mix(budget):
    new = [part(many("n", range(2, 30)))]
    assert mix(new, [], seed=0, budget=budget) == mix(new, [], seed=0)


def test_a_short_source_is_refused_unless_that_is_allowed():
    new = [part(many("n", [4] * 80))]
    with pytest.raises(DataError, match=r"old: share 0.2 asks for 20 examples; it has 5, .* 0.05"):
        mix(new, [extra(num=5)], seed=0)
    mixed = mix(new, [extra(num=5, allow_fewer=True)], seed=0)
    assert sorted(ids(mixed, "old")) == [f"old-{n}" for n in range(5)]
    assert mixed.notes == ["old: share 0.2 asks for 20 examples; it has 5, which reaches 0.05"]
    of = extra(num=5, share_of="trained_tokens")
    with pytest.raises(DataError, match="asks for 60 trained tokens; it has 20"):
        mix(new, [of], seed=0)


def test_a_source_is_gone_through_at_most_as_often_as_the_new_data():
    new = [part(many("n", [4] * 20), num_train_epochs=3)]
    mixed = mix(new, [extra(num=5)], seed=0)
    assert Counter(Counter(ids(mixed, "old")).values()) == {3: 5}
    assert mixed.sources["old"]["different_examples"] == 5
    with pytest.raises(DataError, match="it has 12 in 3 passes"):
        mix(new, [extra(num=4)], seed=0)


@given(
    num=st.integers(1, 30),
    share=st.floats(0.1, 0.5),
    unit=units,
    seed=seeds,
    skip=st.integers(0, 300),
)
@settings(deadline=None)
def test_a_number_of_examples_is_met_beside_shares(num, share, unit, seed, skip):
    new = [part(many("n", [4] * 40))]
    asked = Extra("set", many("set-", [7] * 100), num_examples=num, skip=skip)
    mixed = mix(new, [extra(share=share, share_of=unit), asked], seed=seed)
    assert len(ids(mixed, "set")) == len(set(ids(mixed, "set"))) == num or skip % 100 + num > 100
    assert len(ids(mixed, "set")) == num
    assert set(ids(mixed, "new")) == set(ids(mix(new, [], seed=seed)))
    facts = mixed.sources.values()
    total = sum(fact[unit] for fact in facts)
    assert abs(mixed.sources["old"][unit] - share * total) <= 4
    assert mixed.sources["set"]["asked"] == {"num_examples": num, "loss_weight": "by_token"}


def test_examples_passed_over_are_those_of_an_earlier_phase():
    new, source = [part(many("n", [4] * 40))], many("set-", [4] * 60)
    drawn = [
        ids(mix(new, [Extra("set", source, num_examples=20, skip=skip)], seed=0), "set")
        for skip in (0, 20, 40)
    ]
    assert {name for one in drawn for name in one} == {f"set-{n}" for n in range(60)}


def test_an_order_of_its_own_draws_other_examples():
    new, source = [part(many("n", [4] * 95))], many("old-", [4] * 400)
    drawn = [
        set(ids(mix(new, [Extra("old", source, 0.05, draw=draw)], seed=0), "old"))
        for draw in ("", "", "turn 1")
    ]
    assert drawn[0] == drawn[1]
    assert len(drawn[0] & drawn[2]) < 3


def test_too_few_examples_for_a_number_are_refused_unless_that_is_allowed():
    new = [part(many("n", [4] * 40))]
    with pytest.raises(DataError, match=r"set: 9 examples are asked for; it has 5\. Ask"):
        mix(new, [Extra("set", many("set-", [4] * 5), num_examples=9)], seed=0)
    few = Extra("set", many("set-", [4] * 5), num_examples=9, allow_fewer=True)
    mixed = mix(new, [few, extra(share_of="trained_tokens")], seed=0)
    assert len(ids(mixed, "set")) == 5
    assert mixed.notes == ["set: 9 examples are asked for; it has 5"]


def test_an_ordered_source_is_drawn_as_it_stands():
    new = [part(many("n", [4] * 40))]
    mixed = mix(new, [extra(share=0.2, is_ordered=True)], seed=0)
    assert ids(mixed, "old") == [f"old-{n}" for n in range(10)]


def test_weights_follow_the_share():
    mixed = mix([part(many("n", [9] * 40))], [extra(loss_weight="match_share")], seed=0)
    realised = mixed.sources["old"]["realised_share"]
    assert realised["examples"] == realised["loss_weight"] == pytest.approx(0.2)
    assert realised["trained_tokens"] == pytest.approx(40 / 360)
    assert {row.weight for row in mixed.rows if row.source == "new"} == {1}
    assert sum(fact["realised_share"]["loss"] for fact in mixed.sources.values()) == pytest.approx(
        1
    )


def test_a_source_in_few_steps_has_less_of_the_loss_than_of_the_weight():
    new = [part(many("n", [9] * 40), batch_size=1)]
    mixed = mix(new, [extra(share=0.05, loss_weight="match_share")], seed=0)
    realised = mixed.sources["old"]["realised_share"]
    assert realised["loss_weight"] == pytest.approx(0.05)
    assert realised["loss"] == pytest.approx(2 * 0.5128 / 40, rel=1e-3)


def test_joint_phases_are_dealt_evenly_over_the_sum_of_their_steps():
    medicine = part(many("m", [4] * 24), "new:medicine", batch_size=4, num_train_epochs=1)
    hindi = part(many("h", [16] * 10), "new:hindi", batch_tokens=32, max_steps=4)
    mixed = mix([medicine, hindi], [], seed=0)
    assert mixed.num_steps == 10
    assert len(ids(mixed, "new:medicine")) == 24
    assert len(ids(mixed, "new:hindi")) == 8
    tokens = [0] * 10
    for row in mixed.rows:
        tokens[row.step] += row.sequence.num_tokens
    assert max(tokens) - min(tokens) <= 2 * 16
    halves = [sum(row.step < 5 for row in mixed.rows if row.source == s) for s in mixed.sources]
    assert halves[0] in (11, 12, 13)
    assert halves[1] in (3, 4, 5)


def test_own_sources_with_shares_come_before_extras():
    own = [NewSource("a", many("a", [4] * 80)), NewSource("b", many("b", [4] * 60), 0.2)]
    new = Part(role="new", sources=own, batch_size=10, num_train_epochs=1)
    mixed = mix([new], [extra(share=0.2)], seed=0)
    assert {name: fact["examples"] for name, fact in mixed.sources.items()} == {
        "a": 80, "b": 20, "old": 25,
    }  # fmt: skip
    assert mixed.sources["b"]["asked"]["share"] == 0.2
    assert mixed.sources["a"]["asked"] is None


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ([extra("a", share=0.5), extra("b", share=0.5)], r"add up to 1 \(a 0.5, b 0.5\)"),
        ([extra("a"), extra("a")], "named twice in one mix: a"),
        ([extra("new")], "named twice"),
        ([extra("a"), extra("b", share_of="trained_tokens")], "must count the same"),
        ([extra(share=0.001)], "less than one example"),
        ([Extra("a", [sequence("empty", 4, 0)], 0.1)], "example empty has no trained token"),
    ],
)
def test_what_cannot_be_mixed(extras, message):
    with pytest.raises(DataError, match=message):
        mix([part(many("n", [4] * 20))], extras, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0}, "share must be above 0"),
        ({"share": None}, "give either share or num_examples"),
        ({"num_examples": 3}, "give either share or num_examples"),
        ({"share": None, "num_examples": 0}, "must be at least 1"),
        ({"share": float("nan")}, "share must be above 0"),
        ({"num": 0}, "has no examples"),
        ({"share_of": "words"}, "share_of 'words'"),
        ({"share_base": "old_data"}, "share_base 'old_data'"),
    ],
)
def test_what_cannot_be_an_extra(options, message):
    with pytest.raises(DataError, match=message):
        extra(**options)


def test_a_new_sequence_without_a_trained_token_stops_the_run():
    with pytest.raises(DataError, match="new: example n has no trained token"):
        mix([part([sequence("n", 4, 0)])], [], seed=0)
    with pytest.raises(DataError, match="budget 'same'"):
        mix([part([sequence("n")])], [], seed=0, budget="same")


def test_a_hundred_thousand_sequences_are_mixed():
    new = part(many("n", [4] * 100_000), batch_size=32)
    mixed = mix([new], [extra(num=60_000, share=0.3)], seed=0, budget="same_total_tokens")
    assert mixed.num_steps == 3125
