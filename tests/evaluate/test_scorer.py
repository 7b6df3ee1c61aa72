"""The scorer against plain calls of the model, one request at a time."""

import math
from bisect import bisect_right
from functools import cache
from itertools import accumulate

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retain.errors import Interrupted, TaskError
from retain.evaluate.ledger import Ledger
from retain.evaluate.packing import ROOT, Request, chains, fit, rows, trees
from retain.evaluate.scorer import Scorer
from tests.evaluate.evaluation_models import OTHERS, TREES, make_model, sharp, t5

LENGTH = 96
FAMILIES = TREES | OTHERS


@cache
def family(name):
    return FAMILIES[name]()


def plainly(model, request):
    """Log-likelihood and greediness by one call on the request alone."""
    tokens = torch.tensor([[*request.context, *request.continuation]])
    with torch.no_grad():
        scores = model(tokens[:, :-1]).logits[0].float().log_softmax(-1)
    wanted = torch.tensor(request.continuation)
    scores = scores[-len(wanted) :]
    return float(scores.gather(-1, wanted[:, None]).sum()), bool(
        (scores.argmax(-1) == wanted).all()
    )


token = st.integers(3, 399)
continuation = st.lists(token, min_size=1, max_size=9).map(tuple)
question = st.tuples(
    st.lists(token, min_size=1, max_size=40).map(tuple),
    st.lists(continuation, min_size=1, max_size=5),
)
questions = st.lists(question, min_size=1, max_size=6)


def requests_of(drawn):
    return [
        Request(context, rest, f"item {number}")
        for number, (context, choices) in enumerate(drawn)
        for rest in choices
    ]


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=questions, budget=st.integers(1, 400))
def test_scores_are_those_of_plain_calls_at_any_budget(name, drawn, budget):
    requests = requests_of(drawn)
    answers = Scorer(family(name), LENGTH, budget_tokens=budget).loglikelihoods(requests)
    for request, answer in zip(requests, answers, strict=True):
        expected, greedy = plainly(family(name), request)
        assert answer.loglikelihood == pytest.approx(expected, abs=1e-4)
        assert answer.is_greedy == greedy


@pytest.mark.parametrize("name", TREES)
def test_families_with_plain_attention_take_the_tree(name):
    scorer = Scorer(family(name), LENGTH)
    scorer.loglikelihoods([Request((5, 6, 7), (8,)), Request((5, 6, 7), (9, 10))])
    assert scorer.path == "tree"
    assert scorer.notes == ["scored by the tree path"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_whose_state_cannot_be_shared_takes_another_path_and_says_why(name):
    scorer = Scorer(family(name), LENGTH)
    scorer.loglikelihoods([Request((5, 6, 7), (8,))])
    assert scorer.path == "padded"
    assert "because the tree path" in scorer.notes[0]


def test_a_sliding_window_is_tried_with_a_tree_that_is_longer():
    """The trial must reach over the window, or a mask that ignores it would pass."""
    scorer = Scorer(family("gemma3"), LENGTH)
    long = Request(tuple(range(3, 63)), (8, 9))
    (answer,) = scorer.loglikelihoods([long])
    assert scorer._tried_to > family("gemma3").config.sliding_window
    assert answer.loglikelihood == pytest.approx(plainly(family("gemma3"), long)[0], abs=1e-4)


def test_a_wrong_tree_is_found_out(monkeypatch):
    """Were every token of a tree at position 0, the plain path would be taken."""
    from retain.model.attention import Layout

    monkeypatch.setattr(Layout, "positions", lambda self: [0] * sum(self.lengths))
    scorer = Scorer(family("llama"), LENGTH)
    (answer,) = scorer.loglikelihoods([Request((5, 6, 7), (8, 9))])
    assert scorer.path == "padded"
    assert "off by" in scorer.notes[0]
    expected, _ = plainly(family("llama"), Request((5, 6, 7), (8, 9)))
    assert answer.loglikelihood == pytest.approx(expected, abs=1e-4)


def test_a_head_that_cannot_run_apart_is_run_whole(monkeypatch):
    monkeypatch.setattr("retain.evaluate.head.Head.logits", lambda self, hidden: hidden @ hidden.T)
    scorer = Scorer(family("llama"), LENGTH)
    request = Request((5, 6, 7), (8, 9))
    (answer,) = scorer.loglikelihoods([request])
    assert scorer.path == "whole"
    assert answer.loglikelihood == pytest.approx(plainly(family("llama"), request)[0], abs=1e-4)


def test_an_encoder_decoder_is_scored_on_its_decoder():
    model = t5()
    requests = [Request((5, 6, 7, 8), (9, 10)), Request((11,), (12, 13, 14))]
    scorer = Scorer(model, LENGTH)
    answers = scorer.loglikelihoods(requests)
    assert scorer.path == "encoder-decoder"
    for request, answer in zip(requests, answers, strict=True):
        labels = torch.tensor([request.continuation])
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([request.context]), labels=labels).logits[0]
        expected = logits.log_softmax(-1).gather(-1, labels[0, :, None]).sum()
        assert answer.loglikelihood == pytest.approx(float(expected), abs=1e-4)


def test_logits_are_made_in_chunks(monkeypatch):
    """A chunk of one position gives what one call gives."""
    requests = [Request((5, 6, 7), tuple(range(10, 30))), Request((5, 6), (7, 8))]
    whole = Scorer(family("llama"), LENGTH).loglikelihoods(requests)
    monkeypatch.setattr("retain.evaluate.head.CHUNK_BYTES", 1)
    for one, other in zip(
        Scorer(family("llama"), LENGTH).loglikelihoods(requests), whole, strict=True
    ):
        assert one.loglikelihood == pytest.approx(other.loglikelihood, abs=1e-5)


def test_bf16_is_near_fp32():
    requests = [Request((5, 6, 7), (8, 9, 10)), Request((5, 6, 7), (11,))]
    model = family("llama")
    exact = Scorer(model, LENGTH).loglikelihoods(requests)
    rough = Scorer(
        model, LENGTH, lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    ).loglikelihoods(requests)
    for one, other in zip(exact, rough, strict=True):
        assert one.loglikelihood != other.loglikelihood
        assert one.loglikelihood == pytest.approx(other.loglikelihood, abs=0.3)


def test_weights_of_16_bits_still_take_the_tree():
    model = sharp(make_model()).to(torch.bfloat16)
    scorer = Scorer(model, LENGTH)
    scorer.loglikelihoods([Request((5, 6, 7), (8,)), Request((5, 6, 7), (9, 10))])
    assert scorer.path == "tree"


def test_the_models_mode_and_attention_are_left_as_found():
    model = make_model().train()
    attention = model.config._attn_implementation
    Scorer(model, LENGTH).loglikelihoods([Request((5,), (6,))])
    assert model.training
    assert model.config._attn_implementation == attention
    assert "forward" not in vars(model.model)


def test_nan_names_the_item():
    model = make_model()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.fill_(math.nan)
    with pytest.raises(TaskError, match="piqa, document 3: the model answers NaN"):
        Scorer(model, LENGTH).loglikelihoods([Request((5,), (6,), "piqa, document 3")])


def test_an_empty_answer_is_refused_by_name():
    with pytest.raises(TaskError, match="item 7: the answer to score has no token"):
        Scorer(family("llama"), LENGTH).loglikelihoods([Request((5,), (), "item 7")])


def test_an_answer_longer_than_the_context_is_refused_by_name():
    with pytest.raises(TaskError, match=r"item 7: .* 97 tokens, the model reads 96"):
        Scorer(family("llama"), LENGTH).loglikelihoods([Request((5,), (6,) * 97, "item 7")])


def test_a_long_context_loses_its_beginning_and_is_counted():
    long = Request(tuple(range(3, 203)), (8, 9))
    scorer = Scorer(family("llama"), LENGTH)
    (answer,) = scorer.loglikelihoods([long])
    cut = Request(long.context[-(LENGTH + 1 - 2) :], long.continuation)
    assert answer.loglikelihood == pytest.approx(plainly(family("llama"), cut)[0], abs=1e-4)
    assert scorer.num_truncated == 1


# ---------------------------------------------------------------- plans


@given(drawn=questions, budget=st.integers(1, 200), padded=st.booleans())
def test_a_plan_answers_every_request_once_within_the_budget(drawn, budget, padded):
    requests = fit(requests_of(drawn), LENGTH).requests
    documents = chains(requests) if padded else trees(requests, budget, 32)
    plan = rows(documents, budget, padded=padded)
    answered = [i for row in plan for doc in row for target in doc.targets for i in target.requests]
    assert sorted(answered) == list(range(len(requests)))
    for row in plan:
        longest = max(document.num_tokens for document in row)
        total = sum(document.num_tokens for document in row)
        assert len(row) == 1 or (longest * len(row) if padded else total) <= budget


def test_choices_share_their_context_and_equal_requests_are_computed_once():
    requests = [Request((1, 2, 3), rest) for rest in ((4,), (5, 6), (5, 6))]
    (document,) = trees(requests, 100, 32)
    assert document.tokens == [1, 2, 3, 5]
    assert [target.requests for target in document.targets] == [(0,), (1, 2)]


def test_long_continuations_of_a_short_context_do_not_share_it():
    """One mask over all of them would cost more than the context saves."""
    requests = [Request((1,), tuple(range(n, n + 250))) for n in range(8)]
    assert [len(document.nodes) for document in trees(requests, 10_000, 576)] == [1] * 8


@given(drawn=questions, width=st.integers(1, 1000))
def test_sharing_never_widens_a_document_beyond_the_budget(drawn, width):
    requests = requests_of(drawn)
    for document in trees(requests, 50, width):
        assert len(document.nodes) == 1 or document.num_tokens <= 50


@given(drawn=questions)
def test_a_tree_holds_every_sequence_whole(drawn):
    """Along the parents of the node that predicts its last token stands what was asked."""
    requests = requests_of(drawn)
    for document in trees(requests, 10_000, 576):
        ends = list(accumulate(len(tokens) for _, tokens in document.nodes))
        for target in document.targets:
            node = bisect_right(ends, target.positions[-1])
            read = document.nodes[node][1][: target.positions[-1] + 1 - ends[node] or None]
            while (node := document.nodes[node][0]) != ROOT:
                read = document.nodes[node][1] + read
            for index in target.requests:
                asked = requests[index]
                assert read == asked.context + asked.continuation[:-1]


def test_questions_that_begin_alike_share_it():
    shots = tuple(range(100, 160))
    requests = [
        Request((*shots, question, 7), (choice, 9)) for question in (1, 2) for choice in (3, 4)
    ]
    (document,) = trees(requests, 1000, 576)
    assert document.num_tokens == 60 + 2 * (2 + 2)
    assert [parent for parent, _ in document.nodes] == [ROOT, 0, 1, 1, 0, 4, 4]


# ---------------------------------------------------------------- interruption


def test_a_stopped_scoring_goes_on_with_what_it_has(tmp_path):
    requests = [Request((5, n), (6, 7)) for n in range(8, 20)]
    scorer = Scorer(family("llama"), LENGTH, budget_tokens=6)
    whole = scorer.loglikelihoods(requests)
    calls = iter([False, False, False, True])
    with pytest.raises(Interrupted):
        scorer.loglikelihoods(requests, Ledger(tmp_path, stop=lambda: next(calls)))
    asked = []
    again = scorer.loglikelihoods(
        requests, Ledger(tmp_path, stop=lambda: asked.append(1) is not None)
    )
    assert again == whole  # to the last bit
    assert len(asked) == 6 - 3


def test_another_plan_does_not_take_what_is_not_its_own(tmp_path):
    scorer = Scorer(family("llama"), LENGTH)
    scorer.loglikelihoods([Request((5, 8), (6, 7))], Ledger(tmp_path))
    (answer,) = scorer.loglikelihoods([Request((5, 9), (6, 7))], Ledger(tmp_path))
    expected, _ = plainly(family("llama"), Request((5, 9), (6, 7)))
    assert answer.loglikelihood == pytest.approx(expected, abs=1e-4)


def test_a_torn_last_line_is_computed_again(tmp_path):
    requests = [Request((5, n), (6, 7)) for n in range(8, 20)]
    scorer = Scorer(family("llama"), LENGTH, budget_tokens=6)
    whole = scorer.loglikelihoods(requests, Ledger(tmp_path))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert scorer.loglikelihoods(requests, Ledger(tmp_path)) == whole
    assert scorer.loglikelihoods(requests, Ledger(tmp_path, stop=lambda: True)) == whole


def test_progress_ends_at_the_total():
    seen = []
    ledger = Ledger(progress=lambda *state: seen.append(state))
    Scorer(family("llama"), LENGTH, budget_tokens=6).loglikelihoods(
        [Request((5, n), (6, 7)) for n in range(8, 20)], ledger, "piqa"
    )
    done, total, *words = seen[-1]
    assert 0 < done == total
    assert words == ["piqa", "tokens"]
    assert [state[0] for state in seen] == sorted(state[0] for state in seen)
