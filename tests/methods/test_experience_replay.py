from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import RecipeError
from retain.methods.base import overrides
from retain.methods.experience_replay import ExperienceReplay
from retain.methods.given import DeclaredPast, Past


@given(
    share=st.floats(0.001, 0.999),
    phases=st.lists(st.text("abc", min_size=1), unique=True, min_size=1, max_size=6),
    seed=st.integers(),
)
def test_earlier_phases_share_alike_and_give_the_whole_share(share, phases, seed):
    past = Past(phases=tuple(phases))
    sources = ExperienceReplay(share=share).sources(past, (), Random(seed))

    assert [source.role for source in sources] == [f"past:{phase}" for phase in phases]
    assert len({source.share for source in sources}) == 1
    assert sum(source.share for source in sources) == pytest.approx(share)


def test_the_default_is_five_percent_of_the_final_mix_with_matched_loss():
    [source] = ExperienceReplay().sources(Past(phases=("a",)), (), Random(0))
    assert source.spec() == {
        "role": "past:a",
        "share": 0.05,
        "share_of": "examples",
        "share_base": "final_mix",
        "loss_weight": "match_share",
    }


def test_a_declared_past_is_replayed_instead_of_the_phases():
    method = ExperienceReplay(past=DeclaredPast(data="embedded:xsum"))
    [source] = method.sources(Past(phases=("a", "b")), (), Random(0))
    assert source.role == "extra:xsum"
    assert source.share == 0.05
    assert list(method.data()) == ["extra:xsum"]
    assert method.has_own_past


@pytest.mark.parametrize("select", ["all", "nearest", "farthest", "reservoir"])
def test_earlier_phases_are_one_pool_where_examples_are_compared(select):
    size = {"buffer_size": 100} if select == "reservoir" else {}
    method = ExperienceReplay(select=select, share=0.1, **size)
    [source] = method.sources(Past(phases=("a", "b")), (), Random(0))
    assert source.roles == ("past:a", "past:b")
    assert source.share == 0.1
    assert source.role.startswith("past:a+b")
    [single] = method.sources(Past(phases=("a",)), (), Random(0))
    assert single.roles == ("past:a",)
    if select == "all":  # of one phase all is balanced: the same mix, and so the same step
        assert single == ExperienceReplay(share=0.1).sources(Past(phases=("a",)), (), Random(0))[0]


def test_parallel_replay_needs_no_past_but_pairs():
    method = ExperienceReplay(select="parallel", share=0.1)
    [source] = method.sources(Past(), (), Random(0))
    assert (source.role, source.roles, source.select) == ("extra:parallel", ("new",), "parallel")
    assert method.has_own_past
    assert method.needs_pairs
    assert not ExperienceReplay().has_own_past


def test_each_phase_may_draw_anew():
    turns = [Past(phases=("a", "b")[: turn + 1], turn=turn, num_turns=2) for turn in (0, 1)]
    first, second = (ExperienceReplay(draw="anew").sources(past, (), Random(0)) for past in turns)
    assert first == ExperienceReplay().sources(turns[0], (), Random(0))
    assert {one.draw for one in second} == {"turn 1"}
    assert {one.draw for one in ExperienceReplay().sources(turns[1], (), Random(0))} == {""}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draw": "anew", "select": "nearest"}, "draw: anew is by chance, and select: nearest"),
        ({"select": "reservoir"}, "buffer_size: select: reservoir needs a size of at least 1"),
        ({"select": "reservoir", "buffer_size": 0}, "needs a size of at least 1; got 0"),
        ({"buffer_size": 5}, "is for select: reservoir; here select is balanced"),
        (
            {"select": "parallel", "past": DeclaredPast(data="embedded:xsum")},
            "replays the new data's own pairs; leave past out",
        ),
        (
            {"loss_weight": "by_token", "max_token_weight": 10.0},
            "max_token_weight: bounds loss_weight: match_share; here loss_weight is by_token",
        ),
        ({"max_token_weight": 0.0}, "max_token_weight: must be above 0; got 0"),
    ],
)
def test_what_belongs_to_another_choice_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        ExperienceReplay(**options)


def test_it_acts_in_the_mix_only():
    assert overrides(ExperienceReplay(), "sources")
    assert not overrides(ExperienceReplay(), "penalty")


@pytest.mark.parametrize("share", [0.0, -0.1, 1.0, 5.0, float("nan")])
def test_a_share_of_the_final_mix_lies_between_0_and_1(share):
    with pytest.raises(RecipeError, match="must be above 0 and below 1"):
        ExperienceReplay(share=share)


def test_a_percentage_is_recognised():
    with pytest.raises(RecipeError, match=r"5 % is 0\.05"):
        ExperienceReplay(share=5.0)


def test_a_share_of_the_new_data_may_be_more_than_the_new_data():
    assert ExperienceReplay(share=2.0, share_base="new_data").share == 2.0
    with pytest.raises(RecipeError, match="must be above 0; got 0"):
        ExperienceReplay(share=0.0, share_base="new_data")
