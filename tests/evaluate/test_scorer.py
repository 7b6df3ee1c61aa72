"""The scorer against plain calls of the model, one request at a time."""

import math
from bisect import bisect_right
from functools import cache
from itertools import accumulate

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retain.decode.prefix_tree import ROOT, Request, batches, chains, fit, trees
from retain.errors import Interrupted, TaskError
from retain.evaluate.forward import TreePath
from retain.evaluate.ledger import Ledger
from retain.evaluate.scorer import Scorer
from tests.evaluate.evaluation_models import OTHERS, ROWWISE, TREES, make_model, sharp, t5

LENGTH = 96
FAMILIES = TREES | OTHERS
BUILDS = FAMILIES | ROWWISE | {"t5": t5}


@cache
def family(name):
    return BUILDS[name]()


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
shots = st.lists(token, max_size=60).map(tuple)


def requests_of(drawn):
    return [
        Request(context, rest, f"item {number}")
        for number, (context, choices) in enumerate(drawn)
        for rest in choices
    ]


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=questions, before=shots, budget=st.integers(1, 400))
def test_scores_are_those_of_plain_calls_at_any_budget(name, drawn, before, budget):
    drawn = [((before + context)[-LENGTH + 10 :], choices) for context, choices in drawn]
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


ROWS = [
    Request(tuple(range(n, n + length)), rest)
    for n, length in ((3, 9), (90, 70), (90, 90), (7, 63), (8, 62), (200, 64))
    for rest in ((5,), (8, 9, 10))
]


@pytest.mark.parametrize("budget", [64, 400, 4096])
@pytest.mark.parametrize("name", ROWWISE)
def test_positions_that_depend_on_the_row_do_not_make_scores_depend_on_the_plan(name, budget):
    scorer = Scorer(family(name), LENGTH, budget_tokens=budget)
    answers = scorer.loglikelihoods(ROWS)
    assert scorer.path == "padded"
    assert "positions depend on the longest sequence of a row, from 64 tokens" in scorer.notes[0]
    for request, answer in zip(ROWS, answers, strict=True):
        expected, _ = plainly(ROWWISE[name](), request)
        assert answer.loglikelihood == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ROWWISE)
def test_below_the_original_context_such_positions_take_the_tree_until_one_is_longer(name):
    scorer = Scorer(family(name), LENGTH)
    short = [Request((5, 6, 7), (8,)), Request((5, 6, 7), (9, 10))]
    scorer.loglikelihoods(short)
    assert scorer.path == "tree"
    (answer,) = scorer.loglikelihoods(ROWS[2:3])
    assert scorer.path == "padded"
    assert answer.loglikelihood == pytest.approx(plainly(ROWWISE[name](), ROWS[2])[0], abs=1e-4)


def test_a_sliding_window_is_tried_with_a_tree_that_is_longer():
    """The trial must reach over the window, or a mask that ignores it would pass."""
    scorer = Scorer(family("gemma3"), LENGTH)
    long = Request(tuple(range(3, 63)), (8, 9))
    (answer,) = scorer.loglikelihoods([long])
    assert scorer._tried_to > family("gemma3").config.sliding_window
    assert answer.loglikelihood == pytest.approx(plainly(family("gemma3"), long)[0], abs=1e-4)


def test_a_wrong_tree_is_found_out(monkeypatch):
    """Were every token of a tree at position 0, the plain path would be taken."""
    from retain.model.layout import Layout

    monkeypatch.setattr(Layout, "positions", lambda self: [0] * sum(self.lengths))
    scorer = Scorer(family("llama"), LENGTH)
    (answer,) = scorer.loglikelihoods([Request((5, 6, 7), (8, 9))])
    assert scorer.path == "padded"
    assert "off by" in scorer.notes[0]
    expected, _ = plainly(family("llama"), Request((5, 6, 7), (8, 9)))
    assert answer.loglikelihood == pytest.approx(expected, abs=1e-4)


def test_a_head_that_cannot_run_apart_is_run_whole(monkeypatch):
    monkeypatch.setattr("retain.model.head.Head.logits", lambda self, hidden: hidden @ hidden.T)
    scorer = Scorer(family("llama"), LENGTH)
    request = Request((5, 6, 7), (8, 9))
    (answer,) = scorer.loglikelihoods([request])
    assert scorer.path == "whole"
    assert answer.loglikelihood == pytest.approx(plainly(family("llama"), request)[0], abs=1e-4)


@settings(max_examples=12, deadline=None)
@given(drawn=questions, before=shots, budget=st.integers(1, 400))
def test_an_encoder_decoder_is_scored_on_its_decoder_at_any_budget(drawn, before, budget):
    model = family("t5")
    drawn = [((before + context)[-LENGTH:], choices) for context, choices in drawn]
    requests = requests_of(drawn)
    scorer = Scorer(model, LENGTH, budget_tokens=budget)
    answers = scorer.loglikelihoods(requests)
    assert scorer.path == "encoder-decoder"
    assert scorer.notes == ["scored by the encoder-decoder path"]
    for request, answer in zip(requests, answers, strict=True):
        labels = torch.tensor([request.continuation])
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([request.context]), labels=labels).logits[0]
        scores = logits.log_softmax(-1)
        expected = scores.gather(-1, labels[0, :, None]).sum()
        assert answer.loglikelihood == pytest.approx(float(expected), abs=1e-4)
        assert answer.is_greedy == bool((scores.argmax(-1) == labels[0]).all())


def test_logits_are_made_in_chunks(monkeypatch):
    """A chunk of one position gives what one call gives."""
    requests = [Request((5, 6, 7), tuple(range(10, 30))), Request((5, 6), (7, 8))]
    whole = Scorer(family("llama"), LENGTH).loglikelihoods(requests)
    monkeypatch.setattr("retain.model.head.CHUNK_BYTES", 1)
    for one, other in zip(
        Scorer(family("llama"), LENGTH).loglikelihoods(requests), whole, strict=True
    ):
        assert one.loglikelihood == pytest.approx(other.loglikelihood, abs=1e-5)


@pytest.mark.parametrize("budget", [2048, 30])
@pytest.mark.parametrize("name", TREES)
def test_bf16_is_near_fp32(name, budget):
    """In one row, and with beginnings kept."""
    shots = tuple(range(20, 60))
    requests = [Request((*shots, n, 7), rest) for n in range(4) for rest in ((8, 9, 10), (11,))]
    model = family(name)
    exact = Scorer(model, LENGTH).loglikelihoods(requests)
    rough = Scorer(
        model, LENGTH, lambda: torch.autocast("cpu", dtype=torch.bfloat16), budget
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


@pytest.mark.parametrize("budget", [20, 2048])
def test_nan_that_spreads_in_a_row_names_the_item_it_comes_from(budget):
    model = TREES["qwen3"]()
    with torch.no_grad():
        model.model.embed_tokens.weight[390] = math.nan
    asked = [
        Request((*range(20, 50), n), rest, f"item {n}")
        for n in range(4)
        for rest in ((5, 6, 7), (9, 8), (11,))
    ]
    asked.insert(4, Request((*range(20, 50), 1), (12, 390, 13), "the broken one"))
    with pytest.raises(TaskError, match="the broken one: the model answers NaN"):
        Scorer(model, LENGTH, budget_tokens=budget).loglikelihoods(asked)


def test_an_empty_answer_is_refused_by_name():
    with pytest.raises(TaskError, match="item 7: the answer to score has no token"):
        Scorer(family("llama"), LENGTH).loglikelihoods([Request((5,), (), "item 7")])


def test_an_empty_context_is_refused_by_name():
    with pytest.raises(TaskError, match="item 7: the prompt has no token: it is white space"):
        Scorer(family("llama"), LENGTH).loglikelihoods([Request((), (5,), "item 7")])


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
    plan = batches(chains(requests), budget) if padded else trees(requests, budget)
    targets = [t for row in plan for document in row.documents for t in document.targets]
    assert sorted(i for target in targets for i in target.requests) == list(range(len(requests)))
    for row in plan:
        longest = max(document.num_tokens for document in row.documents)
        total = longest * len(row.documents) if padded else row.num_tokens
        assert len(row.documents) == 1 or total <= budget
        assert all(len(stretch) <= budget for stretch in row.kept)


@given(drawn=questions, shots=st.integers(0, 80), budget=st.integers(1, 300))
def test_along_each_target_stands_what_was_asked(drawn, shots, budget):
    """Kept tokens, then the nodes down to the one that predicts the last token."""
    beginning = tuple(range(500, 500 + shots))
    requests = [
        Request(beginning + one.context, one.continuation) for one in requests_of(drawn)
    ] + [Request(beginning[:end], (7, 8)) for end in range(1, shots, 9)]
    for row in trees(requests, budget):
        kept = tuple(token for stretch in row.kept for token in stretch)
        for document in row.documents:
            for target in document.targets:
                read = _read_at(document, kept, target.positions[-1])
                for index in target.requests:
                    asked = requests[index]
                    assert read == asked.context + asked.continuation[:-1]
                    assert target.tokens == asked.continuation


def _read_at(document, kept, position):
    """All tokens that the token at a position sees, itself included."""
    if position < document.seen:
        return kept[: position + 1]
    at = position - document.seen
    ends = list(accumulate(len(tokens) for _, tokens in document.nodes))
    node = bisect_right(ends, at)
    read = document.nodes[node][1][: at + 1 - ends[node] or None]
    while (node := document.nodes[node][0]) != ROOT:
        read = document.nodes[node][1] + read
    return kept[: document.seen] + read


def test_choices_share_their_context_and_equal_requests_are_computed_once():
    requests = [Request((1, 2, 3), rest) for rest in ((4,), (5, 6), (5, 6))]
    (row,) = trees(requests, 100)
    (document,) = row.documents
    assert document.tokens == [1, 2, 3, 5]
    assert [target.requests for target in document.targets] == [(0,), (1, 2)]


def test_long_continuations_of_a_short_context_do_not_share_it():
    """To cut their attention in two would cost more than one token saves."""
    requests = [Request((1,), tuple(range(n, n + 250))) for n in range(8)]
    (row,) = trees(requests, 10_000)
    assert [len(document.nodes) for document in row.documents] == [1] * 8


def test_questions_that_begin_alike_share_it():
    shots = tuple(range(100, 160))
    requests = [
        Request((*shots, question, 7), (choice, 9)) for question in (1, 2) for choice in (3, 4)
    ]
    (row,) = trees(requests, 1000)
    (document,) = row.documents
    assert document.num_tokens == 60 + 2 * (2 + 2)
    assert [parent for parent, _ in document.nodes] == [ROOT, 0, 1, 1, 0, 4, 4]


def test_shots_are_computed_once_for_all_rows_and_fewer_shots_are_their_beginning():
    shots = [tuple(range(100 * k, 100 * k + 30)) for k in range(1, 9)]
    requests = [
        Request((*(token for shot in shots[:k] for token in shot), question, 7), (choice, 9))
        for k in (0, 1, 2, 4, 8)
        for question in range(20)
        for choice in (3, 4)
    ]
    plan = trees(requests, 200)
    kept = {row.kept[:depth] for row in plan for depth in range(1, len(row.kept) + 1)}
    assert kept
    num_kept = sum(len(stretches[-1]) for stretches in kept)
    assert num_kept + sum(row.num_tokens for row in plan) == 8 * 30 + 5 * 20 * 4


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


# ---------------------------------------------------------------- memory


def out_of_memory_above(monkeypatch, most, error, done=()):
    """Rows of more tokens than ``most`` do not fit; those that do are counted."""
    answer = TreePath.answer

    def limited(self, row):
        if row.num_tokens > most:
            raise error
        if isinstance(done, list):
            done.append(row)
        return answer(self, row)

    monkeypatch.setattr(TreePath, "answer", limited)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")],
)
def test_where_memory_runs_out_the_budget_halves_and_scores_stay(monkeypatch, error):
    requests = [Request((5, 6, n), (7, m)) for n in range(40) for m in range(8, 11)]
    requests += [Request((9, 6, n), tuple(range(20, 50))) for n in range(3)]
    scorer = Scorer(family("llama"), LENGTH, budget_tokens=512)
    expected = scorer.loglikelihoods(requests)
    out_of_memory_above(monkeypatch, 130, error)
    found = scorer.loglikelihoods(requests)
    assert scorer.budget_tokens == 128
    assert "out of memory: going on with 128 tokens at a time, same scores" in scorer.notes
    for one, other in zip(found, expected, strict=True):
        assert one.loglikelihood == pytest.approx(other.loglikelihood, abs=1e-4)


def test_a_resumed_scoring_goes_on_with_the_halved_budget(monkeypatch, tmp_path):
    """The first row ran out already: what was finished with half the budget is found again."""
    requests = [Request((5, 6, n), (7, m)) for n in range(40) for m in range(8, 11)]

    def ready():
        scorer = Scorer(family("llama"), LENGTH, budget_tokens=128)
        scorer.loglikelihoods([Request((5,), (6,))])
        return scorer

    done = []
    first, second, whole = ready(), ready(), ready()
    out_of_memory_above(monkeypatch, 70, torch.OutOfMemoryError("CUDA out of memory"), done)
    expected = whole.loglikelihoods(requests)
    num_rows = len(done)
    done.clear()
    with pytest.raises(Interrupted):
        first.loglikelihoods(requests, Ledger(tmp_path, stop=lambda: len(done) == 1))
    tries = len(done)
    assert second.loglikelihoods(requests, Ledger(tmp_path)) == expected
    assert len(done) - tries == num_rows - 1
    assert second.budget_tokens == 64


def test_a_trial_that_runs_out_of_memory_does_not_choose_a_path(monkeypatch):
    out_of_memory_above(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        Scorer(family("llama"), LENGTH).loglikelihoods([Request((5,), (6,))])


def test_a_model_that_does_not_fit_at_all_says_so(monkeypatch):
    scorer = Scorer(family("llama"), LENGTH)
    scorer.loglikelihoods([Request((5,), (6,))])
    out_of_memory_above(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        scorer.loglikelihoods([Request((5,), (6,))])


def test_another_fault_is_not_taken_for_lack_of_memory(monkeypatch):
    scorer = Scorer(family("llama"), LENGTH)
    scorer.loglikelihoods([Request((5,), (6,))])
    out_of_memory_above(monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        scorer.loglikelihoods([Request((5,), (6,))])
