"""Evaluated items are found wherever a text holds them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.rehearse.leaks import CONTAINED, MIN_WORDS, NUM_WORDS, Leaks

ITEM = "A train leaves the station at noon and travels at sixty miles an hour towards the coast"
WORD = st.sampled_from(["the", "a", "cat", "dog", "sat", "on", "of", "red", "tree"])


def literal(items, text):
    """Whether any item leaks, word by word."""

    def ngrams(words, length):
        return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}

    for item in items:
        length = min(NUM_WORDS, len(item))
        if item == text:
            return True
        if len(item) < MIN_WORDS:
            continue
        ours = ngrams(item, length)
        if len(ours & ngrams(text, length)) >= CONTAINED * len(ours):
            return True
    return False


@given(
    items=st.lists(st.lists(WORD, min_size=1, max_size=14), max_size=4),
    text=st.lists(WORD, min_size=1, max_size=30),
)
def test_agrees_with_a_literal_comparison(items, text):
    found = Leaks(" ".join(item) for item in items).in_text(" ".join(text))
    assert (found is not None) == literal(items, text)


@pytest.mark.parametrize(
    "text",
    [
        ITEM,
        f"Q.  {ITEM.upper()}?\nA. It is late.",
        "He said: A train leaves the station at noon, and travels at sixty miles an hour!",
        "राम ने कहा: क्या आप जानते हैं कि नेपाल की राजधानी कौन सा शहर है",
    ],
)
def test_an_item_is_found_inside_a_text(text):
    leaks = Leaks([ITEM, "क्या आप जानते हैं कि नेपाल की राजधानी कौन सा शहर है?"])
    assert leaks.in_text(text) is not None


@pytest.mark.parametrize(
    "text", ["The train left at noon.", "What is it? It is a train.", "", "A train leaves at noon"]
)
def test_a_few_shared_words_are_no_leak(text):
    assert Leaks([ITEM, "What is it?", ""]).in_text(text) is None


def test_a_short_item_leaks_as_a_whole():
    leaks = Leaks(["What is it?"])
    assert leaks.in_text(" what is it? ") == "What is it?"
    assert len(leaks) == 1


def test_the_item_that_most_is_held_of_is_named():
    longer = f"{ITEM} where the passengers wait for the evening boat to the islands of the north"
    assert Leaks([longer, ITEM]).in_text(ITEM) == ITEM
