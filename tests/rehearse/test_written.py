"""The lines of a corpus as their readers see them."""

from retain.data.example import Message
from retain.rehearse.written import added_of, facts_of_rows, given_of, written_of


def said(role, content, **more):
    return Message(role=role, content=content, **more)


FIRST = [said("user", "what is a cat?"), said("assistant", "an animal of the house")]
SECOND = [said("user", "which colours has it?"), said("assistant", "black and white, or red")]
THIRD = [said("user", "what does it eat?"), said("assistant", "mice and birds by night")]
KNOWN = [FIRST[0], said("assistant", "an animal of the house", train=False)]
NUMBERS = {"num_tokens": 9, "depth": 2}


def row(messages, num_given=0):
    return {"messages": messages, "num_given": num_given, **NUMBERS}


def test_what_is_said_again_on_the_way_down_does_not_make_a_corpus_look_alike():
    whole = [row([*FIRST, *SECOND]), row([*KNOWN, *THIRD])]
    assert added_of(whole[0]) == written_of(whole[0])
    assert added_of(whole[1]) == "what does it eat?\nmice and birds by night"
    apart = [row([*FIRST, *SECOND]), row(THIRD)]
    assert facts_of_rows(whole) == facts_of_rows(apart)


def test_what_the_model_was_given_is_not_what_it_wrote():
    system = said("system", "be brief")
    assert given_of(row([system, *FIRST], 1)) == ["be brief"]
    assert written_of(row([system, *FIRST], 2)) == added_of(row([system, *FIRST], 2))
    assert added_of(row([system, *FIRST], 2)) == "an animal of the house"
    assert added_of({"text": "a cat sat", "num_given": 0, **NUMBERS}) == "a cat sat"
