from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.data.example import Example
from retain.errors import DataError, RecipeError
from retain.methods import load
from retain.methods.generative_replay import GenerativeReplay
from retain.methods.given import Past
from retain.rehearse.corpus import Node

ENGLISH = "Which of these two organs is the larger one, and why?"
NEPALI = "नेपालको राजधानी बारे केही वाक्य लेख्नुहोस् न है।"


def asked(prompt):
    turns = ({"role": "user", "content": prompt}, {"role": "assistant", "content": "old"})
    return Example(source="s", messages=turns)


EXAMPLES = [asked(ENGLISH), asked(NEPALI), Example(source="s", text="A text of some words. " * 9)]


def asks(method, tree=0):
    corpus = method.rehearse(Past())
    return corpus.expand(Node(path=(tree,)), EXAMPLES, Random(0))


def test_the_model_is_asked_what_the_user_asked_and_not_shown_the_old_answer():
    first, second, third = asks(GenerativeReplay())
    assert [m["content"] for m in (*first.messages, *second.messages)] == [ENGLISH, NEPALI]
    assert third.writes == "text"
    assert len(third.text.split()) == 16


def test_the_other_side_of_pairs_is_asked():
    pairs = [*EXAMPLES, Example(source="s", text="नेपाल", parallel=asked(ENGLISH))]
    method = GenerativeReplay(prompts="parallel")
    [ask] = method.rehearse(Past()).expand(Node(path=(0,)), pairs, Random(0))
    assert ask.messages[0]["content"] == ENGLISH
    with pytest.raises(DataError, match=r"not read as pairs \(parallel: COLUMN"):
        asks(method)


def test_the_english_side_alone_is_asked():
    [first, *rest] = asks(GenerativeReplay(languages=("en",)))
    assert first.messages[0]["content"] == ENGLISH
    assert [ask.writes for ask in rest] == ["text"]


@given(st.integers(1, 5))
def test_the_trees_together_ask_every_prompt_once(size):
    method = GenerativeReplay(num_documents=size)
    found = [ask for tree in range(5) for ask in asks(method, tree)]
    assert found == list(asks(GenerativeReplay()))


def test_nothing_to_ask_says_what_else_could_be_asked():
    with pytest.raises(DataError, match=r"3 examples hold no prompt in sw; .*prompts: past"):
        asks(GenerativeReplay(languages=("sw",)))


def test_a_share_leaves_no_trace_in_what_is_written():
    few, many = GenerativeReplay(share=0.05), GenerativeReplay(share=0.1, loss_weight="by_token")
    assert few.spec_of_corpus() == many.spec_of_corpus()
    assert few.spec() != many.spec()


def test_corpora_replace_each_other_or_share_alike():
    roles = ("rehearsed:generative_replay@1", "rehearsed:generative_replay")
    [last] = GenerativeReplay().sources(Past(), roles, Random(0))
    assert (last.role, last.share) == (roles[1], 0.05)
    both = GenerativeReplay(corpora="accumulate").sources(Past(), roles, Random(0))
    assert [(one.role, one.share) for one in both] == [(role, 0.025) for role in roles]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.0}, "below 1"),
        ({"num_documents": 0}, "num_documents: must be at least 1"),
        ({"temperature": -1.0}, "temperature: must be at least 0"),
        ({"writer": "me"}, "writer"),
        ({"languages": ["en", "EN"]}, r"languages: 'EN' is no code .* did you mean 'en'\?"),
    ],
)
def test_values_that_cannot_be(options, message):
    with pytest.raises(RecipeError, match=message):
        load("generative_replay", options)


def test_a_file_of_prompts_may_hold_prompts_alone():
    def formats(prompts):
        return [one.format for [one] in GenerativeReplay(prompts=prompts).data().values()]

    assert formats("questions.jsonl") == formats("owner/questions") == ["prompts"]
    assert formats("embedded:openbookqa") == [None]
    assert formats("past") == formats("new") == []
