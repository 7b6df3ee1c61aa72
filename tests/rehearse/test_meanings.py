import numpy as np

from retain.rehearse.meanings import MIN_TEXTS, Meanings
from retain.rehearse.sentences import whole_sentences

COMMON = 50 * np.ones(8)


def embed(texts):
    """A vector per first word, with a large direction that all share, as a model's states have."""
    drawn = [np.random.default_rng(list(text.split()[0].encode())).normal(size=8) for text in texts]
    return np.stack([one + COMMON for one in drawn])


def test_the_same_in_other_words_is_known_once_there_are_enough_texts():
    meanings = Meanings(embed, 0.95)
    kept = [meanings.add(f"w{number} and more") for number in range(MIN_TEXTS)]
    assert all(kept)
    assert not meanings.add("w3 in other words")
    assert meanings.add("w99 is something else")


def test_before_that_everything_is_new():
    meanings = Meanings(embed, 0.95)
    assert meanings.add("one")
    assert meanings.add("one again")


def test_a_cut_text_ends_with_its_last_whole_sentence():
    assert whole_sentences('He said "no." Then he') == 'He said "no."'
    assert whole_sentences("Costs 3.5 euros and") == ""
    assert whole_sentences("यह घर है। वह कि") == "यह घर है।"
    assert (
        whole_sentences("\u4eca\u5929\u5f88\u597d\u3002\u6211") == "\u4eca\u5929\u5f88\u597d\u3002"
    )
