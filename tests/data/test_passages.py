"""Passages give the text back, in order, in whole sentences."""

from hypothesis import given
from hypothesis import strategies as st

from retain.data.passages import MAX_PASSAGE, MIN_PASSAGE, passages, samples

WORD = st.text("कखगघङ abc।?!|\n", min_size=1, max_size=30)


@given(words=st.lists(WORD, max_size=400))
def test_passages_join_to_the_text_without_its_line_breaks(words):
    text = "\n".join(words)
    joined = " ".join(row["text"] for row in passages(text))
    assert joined == " ".join(text.split())


@given(words=st.lists(WORD, max_size=400))
def test_every_passage_but_the_last_keeps_to_its_size(words):
    lengths = [len(row["text"]) for row in passages("\n".join(words))]
    assert all(MIN_PASSAGE <= length <= MAX_PASSAGE for length in lengths[:-1])
    assert all(length <= MAX_PASSAGE + MIN_PASSAGE for length in lengths[-1:])


def test_a_passage_ends_with_a_sentence_and_its_quotation_mark():
    text = 'उसने कहा, "मै घर जा रहा हूं।" फिर वह चला गया। ' * 60
    ends = {row["text"].split()[-1] for row in passages(text)}
    assert ends <= {'हूं।"', "गया।"}


def test_nothing_gives_nothing():
    assert list(passages(" \n ")) == []


FACTS = r"""
name: "Sample"
sample_text {
  poster_lg: "All human beings are born free and equal"
  specimen_48: "All human beings are born free"
  specimen_36: "All human beings are born free and equal in dignity and rights."
  specimen_21: "Everyone has the right to \"life\".\nNobody\'s slave, ever again, anywhere."
  specimen_16: "Everyone has the right to \"life\".\nshort"
}
"""


def test_samples_are_distinct_paragraphs():
    assert samples(FACTS) == [
        "All human beings are born free and equal in dignity and rights.",
        'Everyone has the right to "life".',
        "Nobody's slave, ever again, anywhere.",
    ]


def test_a_file_without_samples_gives_none():
    assert samples('id: "xx_Latn"') == []
