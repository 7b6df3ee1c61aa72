"""Roles, order and pool: from the documents alone, nested, never mixed."""

from hypothesis import given
from hypothesis import strategies as st

from retain.evaluate.items import MAX_POOL, divide, document_key, role

documents = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 40)), min_size=1, max_size=120, unique=True
)


def divided(drawn, keep_pool=True, limit=None):
    keys = [document_key({"n": number}) for number, _ in drawn]
    owners = [f"passage {owner}" for _, owner in drawn]
    return divide(keys, owners, keep_pool=keep_pool, limit=limit), keys, owners


@given(drawn=documents, limit=st.integers(1, 130))
def test_limits_nest(drawn, limit):
    whole, *_ = divided(drawn)
    part, *_ = divided(drawn, limit=limit)
    assert part.items == whole.items[:limit]
    assert part.pool == whole.pool
    assert part.num_available == len(whole.items)


@given(drawn=documents)
def test_no_scored_item_shares_a_source_item_with_the_pool(drawn):
    division, _, owners = divided(drawn)
    shown = {owners[index] for index in division.pool}
    assert shown.isdisjoint(item.source_item for item in division.items)
    num_different = len({number for number, _ in drawn})
    assert len(division.pool) == min(MAX_POOL, num_different // 10)


@given(drawn=documents)
def test_a_source_item_has_one_role(drawn):
    division, *_ = divided(drawn)
    roles = {}
    for item in division.items:
        assert roles.setdefault(item.source_item, item.role) == item.role


@given(drawn=documents, random=st.randoms())
def test_the_order_of_the_file_plays_no_part(drawn, random):
    first, keys, _ = divided(drawn)
    shuffled = list(drawn)
    random.shuffle(shuffled)
    second, other_keys, _ = divided(shuffled)
    assert [item.key for item in first.items] == [item.key for item in second.items]
    assert [keys[i] for i in first.pool] == [other_keys[i] for i in second.pool]


def test_equal_documents_of_two_source_items_count_for_one_of_them_whatever_their_order():
    drawn = [(0, 0), (0, 1), *((number, 0) for number in range(1, 10))]
    first, *_ = divided(drawn)
    second, *_ = divided(drawn[::-1])
    assert [(item.key, item.role) for item in first.items] == [
        (item.key, item.role) for item in second.items
    ]


def test_about_a_third_is_for_choosing():
    roles = [role(f"passage {number}") for number in range(3000)]
    assert 0.3 < roles.count("select") / 3000 < 0.37
    assert set(roles) == {"select", "report"}


def test_without_shots_nothing_is_set_aside():
    division, *_ = divided([(number, number) for number in range(50)], keep_pool=False)
    assert division.pool == ()
    assert len(division.items) == 50


def test_equal_documents_are_scored_once():
    keys = ["a", "b", "a"]
    division = divide(keys, keys, keep_pool=False)
    assert len(division.items) == 2
    assert division.num_duplicates == 1


def test_keys_do_not_depend_on_the_order_of_fields():
    assert document_key({"a": 1, "b": "é"}) == document_key({"b": "é", "a": 1})
    assert document_key({"a": 1}) != document_key({"a": 2})
