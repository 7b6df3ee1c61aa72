import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.data.draw import Pick
from retain.data.weigh import Stake, weights
from retain.errors import DataError
from tests.data.sequences import sequence


def picks(source, lengths):
    return [Pick(source, sequence(f"{source}{n}", length)) for n, length in enumerate(lengths)]


def new(name="new", loss_weight="by_token", share=None):
    return Stake(name, loss_weight, share, of_new=True, is_new=True)


def extra(name, loss_weight="match_share", share=0.25, of_new=False):
    return Stake(name, loss_weight, share, of_new, is_new=False)


def totals(drawn, stakes):
    found = dict.fromkeys((stake.name for stake in stakes), 0.0)
    for pick, weight in zip(drawn, weights(drawn, stakes), strict=True):
        found[pick.source] += weight * pick.sequence.num_trained
    return found


def test_by_token_is_one_everywhere():
    drawn = picks("new", [4, 9]) + picks("old", [3])
    assert weights(drawn, [new(), extra("old", "by_token")]) == [1, 1, 1]


def test_by_example_gives_every_example_alike_and_keeps_the_source_s_sum():
    drawn = picks("new", [4, 9, 15])
    found = weights(drawn, [new(loss_weight="by_example")])
    each = [w * pick.sequence.num_trained for w, pick in zip(found, drawn, strict=True)]
    assert each == pytest.approx([25 / 3] * 3)


lengths = st.lists(st.integers(2, 50), min_size=1, max_size=8)


@given(lengths, lengths, lengths, st.floats(0.01, 0.45), st.floats(0.01, 0.45))
@settings(deadline=None)
def test_match_share_of_the_whole(fresh, old, older, share, other):
    drawn = picks("new", fresh) + picks("old", old) + picks("older", older)
    stakes = [new(), extra("old", share=share), extra("older", share=other)]
    found = totals(drawn, stakes)
    assert found["new"] == sum(fresh) - len(fresh)
    assert found["old"] == pytest.approx(share * sum(found.values()))
    assert found["older"] == pytest.approx(other * sum(found.values()))


@given(lengths, lengths, lengths, st.floats(0.01, 3), st.floats(0.01, 0.9))
@settings(deadline=None)
def test_match_share_of_the_new_data_beside_one_of_the_whole(fresh, old, older, share, other):
    drawn = picks("new", fresh) + picks("old", old) + picks("older", older)
    stakes = [new(), extra("old", share=share, of_new=True), extra("older", share=other)]
    found = totals(drawn, stakes)
    assert found["old"] == pytest.approx(share * found["new"])
    assert found["older"] == pytest.approx(other * sum(found.values()))


@given(lengths, lengths, st.floats(0.01, 0.9))
@settings(deadline=None)
def test_match_share_within_the_new_data(one, two, share):
    drawn = picks("a", one) + picks("b", two)
    found = totals(drawn, [new("a"), new("b", "match_share", share)])
    assert found["b"] == pytest.approx(share * sum(found.values()))
    both = totals(drawn, [new("a", "match_share", 1 - share), new("b", "match_share", share)])
    assert both["b"] == pytest.approx(share * sum(both.values()))
    assert sum(both.values()) == pytest.approx(sum(one) - len(one) + sum(two) - len(two))


def test_a_source_that_was_never_drawn_weighs_nothing():
    assert totals(picks("new", [4]), [new(), extra("old")]) == {"new": 3, "old": 0}


def test_what_cannot_be_weighed():
    with pytest.raises(DataError, match="unknown loss_weight 'by_word'"):
        weights(picks("new", [4]), [new(loss_weight="by_word")])
    with pytest.raises(DataError, match="needs a share"):
        weights(picks("new", [4]), [new(loss_weight="match_share")])


@given(lengths, lengths, st.floats(0.01, 0.9), st.floats(0.1, 50), st.booleans())
@settings(deadline=None)
def test_a_bounded_token_weighs_so_many_times_a_new_one_at_most(fresh, old, share, most, of_new):
    drawn = picks("new", fresh) + picks("old", old)
    free = extra("old", share=share, of_new=of_new)
    bounded = Stake("old", "match_share", share, of_new, is_new=False, max_token_weight=most)
    unbound = weights(drawn, [new(), free])
    for weight, before, one in zip(weights(drawn, [new(), bounded]), unbound, drawn, strict=True):
        assert weight == pytest.approx(min(before, most) if one.source == "old" else 1)
