from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.data.example import Example, Message
from retain.data.leak import key, texts
from retain.data.split import HeldOut, labels_of, order, split
from retain.errors import DataError


def text(number, **fields):
    return Example(source="s", text=f"text {number}", **fields)


def question(number, answer, **fields):
    said = Message(role="assistant", content=answer)
    asked = Message(role="user", content=f"question number {number}, which is long enough to tell?")
    choices = ("heart", "bones", "nerve")
    return Example(
        source="s", messages=(asked, said), choices=choices, answer=choices.index(answer), **fields
    )


def ids(examples):
    return [example.id for example in examples]


examples_with_items = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 40)),
    min_size=4,
    max_size=120,
    unique_by=lambda p: p[0],
).map(lambda pairs: [text(number, item=str(item)) for number, item in pairs])


@given(examples=examples_with_items, fraction=st.floats(0.05, 0.5))
@settings(deadline=None)
def test_parts_are_disjoint_complete_and_part_no_item(examples, fraction):
    if len({example.item for example in examples}) < 2:
        return
    parted = split(examples, HeldOut(fraction))
    held_out = [example for _, example in parted.held_out]
    assert sorted(ids(parted.train) + ids(held_out)) == sorted(ids(examples))
    assert parted.train
    assert held_out
    by_role = [
        {e.item for e in part} for part in (parted.train, *map(parted.role, ("select", "report")))
    ]
    assert sum(map(len, by_role)) == len(set().union(*by_role))
    assert not parted.role("pool")


@given(examples=examples_with_items, shuffler=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_split_follows_from_the_data_not_from_its_order(examples, shuffler):
    if len({example.item for example in examples}) < 2:
        return
    turned = list(examples)
    shuffler.shuffle(turned)
    roles = {example.id: role for role, example in split(examples).held_out}
    assert roles == {example.id: role for role, example in split(turned).held_out}


def test_the_default_is_a_tenth_and_at_most_five_hundred():
    assert len(split([text(n) for n in range(300)]).held_out) == 30
    assert len(split([text(n) for n in range(8000)]).held_out) == 500
    assert len(split([text(n) for n in range(300)], HeldOut(count=77)).held_out) == 77
    assert split([text(1)], HeldOut(count=0)).held_out == []


def test_roles_of_questions():
    examples = [question(n, ("heart", "bones", "nerve")[n % 3]) for n in range(900)]
    parted = split(examples, HeldOut(count=390))
    sizes = {role: len(parted.role(role)) for role in ("pool", "select", "report")}
    assert sizes == {"pool": 32, "select": 119, "report": 239}
    for role in sizes:
        counts = Counter(example.choices[example.answer] for example in parted.role(role))
        assert max(counts.values()) - min(counts.values()) <= 1 + (role == "report")


def test_classes_are_equal_in_the_held_out_part_whatever_they_are_in_the_data():
    labels = ["heart"] * 700 + ["bones"] * 200 + ["nerve"] * 100
    examples = [question(n, label) for n, label in enumerate(labels)]
    parted = split(examples, HeldOut(count=120))
    counts = Counter(example.choices[example.answer] for _, example in parted.held_out)
    assert counts == {"heart": 40, "bones": 40, "nerve": 40}


def test_a_small_class_gives_half_at_most():
    labels = ["heart"] * 190 + ["bones"] * 10
    examples = [question(n, label) for n, label in enumerate(labels)]
    counts = Counter(e.choices[e.answer] for _, e in split(examples, HeldOut(count=40)).held_out)
    assert counts == {"heart": 35, "bones": 5}


def test_a_label_counts_before_the_answer():
    examples = [question(n, "heart", label=str(n % 2)) for n in range(100)]
    assert labels_of(examples) == [str(n % 2) for n in range(100)]
    counts = Counter(example.label for _, example in split(examples).held_out)
    assert counts == {"0": 5, "1": 5}


def test_answers_that_are_all_different_are_no_classes():
    said = [Message(role="assistant", content="a")]
    examples = [
        Example(source="s", messages=tuple(said), choices=(f"yes {n}", f"no {n}"), answer=0)
        for n in range(20)
    ]
    assert set(labels_of(examples)) == {""}
    assert labels_of([text(1)]) == [""]


def test_blocks_of_running_text_are_held_out_whole():
    examples = [text(n, item=f"block {n // 10}") for n in range(400)]
    parted = split(examples)
    counts = Counter(example.item for _, example in parted.held_out)
    assert set(counts.values()) == {10}
    assert len(counts) == 4
    assert len(parted.role("select")) == 10
    assert not {e.item for e in parted.train} & set(counts)


def test_equal_prompts_stay_together():
    """So that nothing that is asked was also trained on."""
    examples = [question(n // 3, ("heart", "bones", "nerve")[n % 3]) for n in range(90)]
    parted = split(examples, HeldOut(0.3))
    trained = {key(t) for example in parted.train for t in texts(example)}
    asked = {key(t) for _, example in parted.held_out for t in texts(example)}
    assert not trained & asked


def test_new_rows_hardly_move_old_ones():
    before = {e.id for _, e in split([text(n) for n in range(1000)]).held_out}
    after = {e.id for _, e in split([text(n) for n in range(1010)]).held_out}
    assert len(before - after) <= 3


@pytest.mark.parametrize(
    ("num", "held_out", "message"),
    [
        (1, HeldOut(), "cannot hold out 1 of 1 examples"),
        (10, HeldOut(count=20), "cannot hold out 20 of 10 .* gives 5"),
    ],
)
def test_too_little_data_is_refused(num, held_out, message):
    with pytest.raises(DataError, match=message):
        split([text(n) for n in range(num)], held_out)


def test_settings_are_checked():
    assert HeldOut.of({"fraction": 0.2, "group_by": "patient"}) == HeldOut(0.2)
    assert HeldOut.of({}) == HeldOut()
    for bad in ({"fraction": 1.0}, {"count": -1}, {"count": 1, "fraction": 0.1}):
        with pytest.raises(DataError, match="held_out"):
            HeldOut.of(bad)


@given(st.sets(st.integers(), max_size=40), st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_order_is_fixed_so_limits_nest(numbers, limit):
    examples = [text(n) for n in sorted(numbers)]
    ordered = order(examples)
    assert ordered == order(reversed(examples))
    fewer = [example for example in ordered if example.text != "text 0"]
    assert order(fewer)[:limit] == fewer[:limit]


def test_a_hundred_thousand_examples_are_split():
    parted = split([text(n) for n in range(100_000)])
    assert len(parted.held_out) == 500
