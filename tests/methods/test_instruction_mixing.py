from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.errors import RecipeError
from retain.methods import load
from retain.methods.given import DeclaredPast, Past
from retain.methods.instruction_mixing import InstructionMixing

GENERAL = DeclaredPast(data="embedded:siqa")


def sizes(method, num_turns):
    turns = (Past(turn=turn, num_turns=num_turns) for turn in range(num_turns))
    return [(s.skip, s.num_examples) for past in turns for s in method.sources(past, (), Random(0))]


@given(num=st.integers(1, 500), num_turns=st.integers(1, 12), total=st.booleans())
def test_phases_share_out_the_set_without_a_gap(num, num_turns, total):
    method = InstructionMixing(general=GENERAL, num_examples=num, per="total" if total else "phase")
    if total and num < num_turns:
        with pytest.raises(RecipeError, match=f"give at least {num_turns}"):
            sizes(method, num_turns)
        return
    found = sizes(method, num_turns)
    assert [skip for skip, _ in found] == [sum(n for _, n in found[:i]) for i in range(num_turns)]
    assert sum(n for _, n in found) == (num if total else num * num_turns)
    assert max(n for _, n in found) - min(n for _, n in found) <= 1


def test_what_enters_the_mix():
    [source] = InstructionMixing(general=GENERAL).sources(Past(), (), Random(0))
    assert source.spec() == {"role": "extra:siqa", "num_examples": 100, "loss_weight": "by_token"}
    assert list(InstructionMixing(general=GENERAL).data()) == ["extra:siqa"]


def test_what_cannot_be():
    with pytest.raises(RecipeError, match="must be at least 1; got 0"):
        InstructionMixing(general=GENERAL, num_examples=0)
    with pytest.raises(RecipeError, match="instruction_mixing: general"):
        load("instruction_mixing", {})
