"""Each filter removes what it names and nothing else; counts add up; order alone decides."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.errors import RecipeError
from retain.rehearse.filters import NUM_SHOWN, REASONS, Filters, Sieve, why_not
from retain.rehearse.leaks import Leaks
from retain.rehearse.near import Seen

GOOD = "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen."
LOOP = "The answer is that the answer is that " * 12
FRENCH = "Les plantes transforment la lumière du soleil en énergie chimique."


def sieve_of(texts):
    """A sieve that all texts went through."""
    sieve = Sieve(Filters())
    for text in texts:
        sieve.removes(text)
    return sieve


@pytest.mark.parametrize(
    ("text", "given", "reason"),
    [
        (GOOD, {}, None),
        ("", {}, "empty"),
        (" \n\t ... !?", {}, "empty"),
        (GOOD, {"finished": False}, "cut off"),
        ("Sure! Here are some facts.", {"is_prompt": True}, "not a question or request"),
        ("I cannot assist with that request.", {}, "refusal"),
        (LOOP, {}, "looping"),
        ("ha" * 60, {}, "looping"),
        (FRENCH, {}, "wrong language"),
        (f"Answer: {GOOD.lower()}", {"leaks": Leaks([GOOD])}, "leak"),
        ("A cat sat on   THE mat there.", {}, "duplicate"),
        ("A cat sat on the mat there!!", {}, "near duplicate"),
    ],
)
def test_each_filter_is_named(text, given, reason):
    seen = Seen()
    seen.add("A cat sat on the mat there.")
    assert why_not(text, Filters(languages=("en",)), seen, **given) == reason


def test_an_answer_that_repeats_its_question_is_removed():
    sieve = Sieve(Filters())
    assert sieve.removes("What is a cat?", answers="what is a  cat") == "repeats the question"
    assert sieve.removes("A cat is a small animal.", answers="What is a cat?") is None
    assert sieve.removes("", answers="") == "empty"
    assert Sieve(OFF).removes("What is a cat?", answers="What is a cat?") is None


OFF = Filters(
    cut_off=False,
    max_repetition=None,
    refusals=(),
    duplicates=False,
    near_duplicates=None,
    requests=False,
    max_echo=None,
)


@pytest.mark.parametrize(
    "text", [LOOP, "I cannot assist with that.", FRENCH, "A cat sat.", "Sure! Here are facts."]
)
def test_a_filter_that_is_off_removes_nothing(text):
    seen = Seen()
    seen.add("A cat sat.")
    assert why_not(text, OFF, seen, finished=False, is_prompt=True) is None


def test_duplicates_kept_when_only_near_ones_are_removed():
    seen = Seen()
    seen.add(GOOD)
    near_only = Filters(duplicates=False)
    assert why_not(GOOD, near_only, seen) is None
    assert why_not(GOOD + "!", near_only, seen) == "near duplicate"


@given(texts=st.lists(st.sampled_from([GOOD, GOOD + " ", LOOP, "", FRENCH, "A cat."]), max_size=12))
def test_counts_add_up_and_examples_are_bounded(texts):
    sieve = sieve_of(texts)
    assert sieve.num_kept + sieve.removed.total() == len(texts)
    assert sieve.num_kept == len(sieve.seen)
    assert set(sieve.removed) <= set(REASONS)
    assert {name: len(shown) for name, shown in sieve.examples.items()} == {
        name: min(num, NUM_SHOWN) for name, num in sieve.removed.items()
    }


@settings(max_examples=30)
@given(texts=st.lists(st.text("ab \u0928?", max_size=20), max_size=8), cut=st.integers(0, 12))
def test_an_interrupted_sieve_goes_on_as_if_nothing_happened(texts, cut):
    whole = Sieve(Filters())
    reasons = [whole.removes(text) for text in texts]
    resumed = Sieve(Filters())
    for text, reason in zip(texts[:cut], reasons, strict=False):
        if reason is None:
            resumed.seen.add(text)
    assert [resumed.removes(text) for text in texts[cut:]] == reasons[cut:]
    assert resumed.removed == Counter(reason for reason in reasons[cut:] if reason)


@given(text=st.text(max_size=200))
def test_any_text_is_judged_and_never_twice_kept(text):
    sieve = Sieve(Filters())
    first = sieve.removes(text, is_prompt=True)
    second = sieve.removes(text, is_prompt=True)
    assert second == (first or "duplicate")


@pytest.mark.parametrize(
    ("name", "value"), [("max_repetition", 1.1), ("near_duplicates", 0.4), ("max_echo", 0)]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(RecipeError, match=f"{name} must lie in"):
        Filters(**{name: value})
