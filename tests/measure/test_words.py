"""Words, n-grams, repetition and language of texts in any script."""

import math

import numpy as np
import py3langid
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.measure.language import LANGUAGES, MIN_LETTERS, language_of, unknown_languages
from retain.measure.ngrams import NUM_DIMENSIONS, embed_ngrams, mixed, ngram_hashes
from retain.measure.repetition import LENGTHS, repetition, text_repetition
from retain.measure.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("मेरो नाम राम हो।", ["मेरो", "नाम", "राम", "हो"]),
        ("Straße, STRASSE", ["strasse", "strasse"]),
        ("我是人。", ["我", "是", "人"]),
        ("  ", []),
        ("उसले काम गर्\u200dयो।", ["उसले", "काम", "गर्यो"]),  # Nepali: ZWJ inside a word
        ("extra\u00adordinary\u200e", ["extraordinary"]),
        ("one\u200btwo", ["one", "two"]),
    ],
)
def test_words_in_any_script(text, expected):
    assert words(text) == expected


def literal_repetition(pieces, length):
    """Counts n-grams that equal an earlier one, pair by pair."""
    ngrams = [pieces[start : start + length] for start in range(len(pieces) - length + 1)]
    repeated = sum(ngram in ngrams[:place] for place, ngram in enumerate(ngrams))
    return repeated / len(ngrams) if ngrams else math.nan


@given(pieces=st.lists(st.integers(0, 3), max_size=25), length=st.integers(1, 6))
def test_repetition_agrees_with_a_literal_count(pieces, length):
    expected = literal_repetition(pieces, length)
    assert repetition(pieces, length) == pytest.approx(expected, nan_ok=True)


@given(pieces=st.lists(st.integers(0, 3), max_size=25), length=st.integers(1, 6))
def test_repetition_does_not_depend_on_what_the_pieces_are(pieces, length):
    renamed = [f"word {piece}" for piece in pieces]
    assert repetition(renamed, length) == pytest.approx(repetition(pieces, length), nan_ok=True)


@given(num=st.integers(40, 80), period=st.integers(1, 6))
def test_loops_repeat_at_every_length_and_new_words_at_none(num, period):
    loop = [place % period for place in range(num)]
    for length in LENGTHS:
        assert repetition(loop, length) == 1 - period / (num - length + 1)
        assert repetition(range(num), length) == 0


def test_a_text_too_short_to_repeat_has_no_value():
    assert math.isnan(text_repetition("yes yes yes"))
    assert text_repetition("yes yes yes yes yes") == 0.5
    with pytest.raises(ValueError, match="at least one"):
        repetition("abc", 0)


@given(text=st.text(max_size=30), length=st.integers(1, 5))
def test_equal_ngrams_have_equal_hashes_and_others_others(text, length):
    plain = " ".join(text.split()).lower()
    if plain.isascii() and len(plain) >= length:
        ngrams = [plain[start : start + length] for start in range(len(plain) - length + 1)]
        hashes = ngram_hashes(plain, length).tolist()
        assert len(hashes) == len(ngrams)
        assert len(set(hashes)) == len(set(ngrams)) == len(set(zip(hashes, ngrams, strict=True)))


def test_mixing_loses_nothing():
    numbers = np.arange(10_000, dtype=np.uint64)
    assert len(np.unique(mixed(numbers))) == len(numbers)


@given(texts=st.lists(st.text(max_size=20), max_size=5))
def test_embedded_texts_have_length_one_or_nothing_in_them(texts):
    vectors = embed_ngrams(texts)
    assert vectors.shape == (len(texts), NUM_DIMENSIONS)
    for text, vector in zip(texts, vectors, strict=True):
        length = np.linalg.norm(vector)
        assert length == pytest.approx(1) or (length == 0 and len(text) < 20)
        np.testing.assert_array_equal(vector, embed_ngrams([text])[0])


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The committee will meet again on Thursday.", "en"),
        ("समिति अर्को बिहीबार फेरि बस्नेछ र निर्णय गर्नेछ।", "ne"),
        ("समिति की अगली बैठक गुरुवार को फिर से होगी।", "hi"),
        ("The cat", None),
        ("1234567890" * 5, None),
    ],
)
def test_language_of(text, language):
    assert language_of(text) == language


def test_a_text_must_have_letters_enough():
    assert language_of("a" * (MIN_LETTERS - 1)) is None
    assert language_of("a" * MIN_LETTERS) is not None


def test_the_codes_are_those_that_texts_are_told_by():
    assert {str(code) for code, _ in py3langid.rank("a text")} == LANGUAGES
    assert unknown_languages(("hi", "ne")) == ""
    for code in ("english", "eng", "EN", "en-US", "nb", ""):
        assert unknown_languages(("hi", code)).startswith(f"'{code}' is no code")
