from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.errors import RecipeError
from retain.methods import load
from retain.methods.given import Past
from retain.methods.tree_generation import TreeGeneration
from retain.rehearse.corpus import Node
from retain.rehearse.grow import Grower
from tests.rehearse.growing import ToyPen

SMALL = {"num_tokens": 600, "question_tokens": 8, "answer_tokens": (8,)}


def grown(**options):
    method = load("tree_generation", {**SMALL, "max_similarity": None, **options})
    return Grower(method.rehearse(Past()), (), ToyPen()).grow()


@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from(["balanced", "wide", "flat", "random_text"]),
    num_tokens=st.integers(100, 3000),
)
def test_every_shape_comes_to_the_budget_within_a_document(shape, num_tokens):
    found = grown(shape=shape, num_tokens=num_tokens)
    size = sum(document.num_tokens for document in found.documents)
    longest = max(document.num_tokens for document in found.documents)
    assert num_tokens - longest - 14 <= size <= num_tokens  # a toy's document has 14 at most


@pytest.mark.parametrize(
    ("shape", "branching", "depths"),
    [
        ("balanced", (2, 2, 2), {1, 2, 3}),
        ("wide", (18, 1), {1, 2}),
        ("flat", (37,), {1}),
        ("random_text", (37,), {1}),
    ],
)
def test_a_shape_branches_as_much_as_the_budget_allows(shape, branching, depths):
    method = TreeGeneration(shape=shape, **SMALL)
    assert method.rehearse(Past()).branching == branching
    assert {document.depth for document in grown(shape=shape).documents} == depths


def test_branching_that_exceeds_the_budget_is_refused_with_the_count():
    with pytest.raises(
        RecipeError,
        match=r"\[4, 4, 4\] has 84 answers, .* up to 26,880 tokens; num_tokens is 20,000",
    ):
        TreeGeneration(branching=(4, 4, 4), num_tokens=20_000)
    TreeGeneration(branching=(4, 4), num_tokens=20_000)
    TreeGeneration(branching=(4, 4, 4), num_tokens=20_000, answer_tokens=(256, 128, 64))


def test_a_level_has_its_own_limit_and_the_last_holds_below():
    corpus = TreeGeneration(branching=(2, 2, 2), answer_tokens=(30, 20)).rehearse(Past())
    node, limits = Node(path=(0,)), []
    while asks := corpus.expand(node, (), Random(0)):
        limits.append((asks[0].writes, asks[0].max_new_tokens, asks[0].temperature, len(asks)))
        node = Node(path=(*node.path, 0), ask=asks[0], written="so")
    assert limits == [
        ("user", 64, 1.0, 2), ("assistant", 30, 0.7, 1),
        ("user", 64, 1.0, 2), ("assistant", 20, 0.7, 1),
        ("user", 64, 1.0, 2), ("assistant", 20, 0.7, 1),
    ]  # fmt: skip


def test_the_system_prompt_is_the_root_and_stays_in_the_lines():
    found = grown(system_prompt="You are a botanist.", shape="wide")
    for document in found.documents:
        assert [m["role"] for m in document.messages] == ["system", "user", "assistant"]
        assert document.num_given == 1
        assert "botanist" not in document.written


def test_paths_are_whole_dialogues_in_which_each_answer_is_learnt_once():
    turns = grown(branching=(3, 2), num_tokens=240)
    whole = grown(branching=(3, 2), num_tokens=240, output="paths")
    learnt = [
        m["content"]
        for document in whole.documents
        for m in document.messages
        if m["role"] == "assistant" and m.get("train", True)
    ]
    assert len(learnt) == len(set(learnt))
    assert set(learnt) <= {document.messages[-1]["content"] for document in turns.documents}
    first, second = whole.documents[:2]
    assert [m["role"] for m in first.messages] == ["user", "assistant"] * 2
    assert second.messages[1] == {**first.messages[1], "train": False}
    assert sum(one.num_tokens for one in whole.documents) <= 240


def test_noise_is_noise_whatever_the_output():
    noise = [grown(shape="random_text", output=output) for output in ("turns", "paths", "texts")]
    assert len({tuple(one.text for one in found.documents) for found in noise}) == 1


def test_texts_hold_questions_and_answers_without_roles():
    turns, texts = grown(), grown(output="texts")
    assert [one.text for one in texts.documents] == [
        "\n\n".join(m["content"] for m in one.messages) for one in turns.documents
    ]


def test_the_same_seed_writes_the_same_and_another_seed_another():
    corpus = TreeGeneration(**SMALL, max_similarity=None).rehearse(Past())

    def rows(seed):
        found = Grower(corpus, (), ToyPen(), seed=seed).grow()
        return [document.row() for document in found.documents]

    assert rows(0) == rows(0) != rows(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tokens": 100}, "num_tokens: a tree of"),
        ({"num_tokens": 900}, r"num_tokens: a tree of \[1, 1, 1\] has 3 answers"),
        ({"num_tokens": 600, "shape": "wide"}, r"num_tokens: a tree of \[1, 1\] has 2 answers"),
        ({"temperature": 0.0}, "temperature: must be above 0, or every question is the same"),
        ({"answer_temperature": -1.0}, "answer_temperature: must be at least 0"),
        ({"answer_tokens": []}, "answer_tokens: must have a number"),
        ({"branching": [2, 0]}, r"branching: must be at least 1; got \[2, 0\]"),
        ({"branching": [2, 2], "shape": "flat"}, "branching: says .* and so does shape: flat"),
        ({"languages": ["english"]}, "languages: 'english' is no code"),
        ({"corpora": "accumulate"}, "corpora: the base model writes the same in every phase"),
        ({"top_p": 0.0}, "top_p: must be above 0"),
        ({"max_similarity": 2.0}, "max_similarity: must be above 0"),
        ({"shape": "tall"}, "shape"),
        ({"share": 1.5}, "below 1"),
    ],
)
def test_values_that_cannot_be(options, message):
    with pytest.raises(RecipeError, match=message):
        load("tree_generation", options)
