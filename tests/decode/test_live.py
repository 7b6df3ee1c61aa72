"""The live batch against plain calls of the model, one sequence at a time."""

from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retain.decode import live
from retain.decode.choose import Sampling
from retain.decode.live import LiveBatch, Trial, Writing, shared_beginning, tried, write
from retain.errors import Interrupted
from tests.evaluate.evaluation_models import OTHERS, TREES

FAMILIES = TREES | OTHERS
END = 7


@cache
def family(name):
    return FAMILIES[name]()


def plainly(model, prompt, limit, end=END):
    """Greedy decoding by whole forward passes."""
    written = []
    while len(written) < limit and (not written or written[-1] != end):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *written]])).logits[0, -1].float()
        written.append(int(logits.argmax()))
    return written


token = st.integers(3, 399)
prompt = st.lists(token, min_size=1, max_size=30).map(tuple)


@pytest.mark.parametrize("name", TREES)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    prompts=st.lists(prompt, min_size=1, max_size=7),
    beginning=st.lists(token, max_size=40).map(tuple),
    limits=st.lists(st.integers(1, 9), min_size=7, max_size=7),
    num_slots=st.integers(1, 4),
    row_tokens=st.integers(10, 200),
)
def test_greedy_answers_are_those_of_plain_calls(
    name, prompts, beginning, limits, num_slots, row_tokens
):
    model = family(name)
    writings = [
        Writing(beginning + one, limit, lambda written: written[-1] == END)
        for one, limit in zip(prompts, limits, strict=False)
    ]
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(live, "ROW_TOKENS", row_tokens)
        patch.setattr(live, "SLOT_TOKENS", 4)
        write(model, writings, Sampling(), num_slots)
    for one in writings:
        assert one.written == plainly(model, one.prompt, one.limit)


@pytest.mark.parametrize("name", TREES)
def test_families_with_plain_attention_are_written_live(name):
    with torch.no_grad():
        trial = tried(family(name), 40)
    assert trial.worst <= 1e-4, trial.fault


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_with_another_state_is_found_out(name):
    with torch.no_grad():
        trial = tried(family(name), 40)
    assert trial.worst > 0.1


def test_a_wrong_position_is_found_out(monkeypatch):
    """Were the kept tokens left out of the positions, the trial would tell."""
    monkeypatch.setattr(LiveBatch, "num_kept", property(lambda self: 0))
    with torch.no_grad():
        assert tried(family("llama"), 40).worst > 0.1


def test_as_many_are_written_at_once_as_memory_allows():
    with torch.no_grad():
        trial = tried(family("llama"), 40)
    config = family("llama").config
    width = config.hidden_size // config.num_attention_heads
    per_layer = 2 * 4 * config.num_key_value_heads * width
    assert trial.bytes_per_token == config.num_hidden_layers * per_layer
    assert trial.num_slots(100) == live.NUM_SLOTS
    assert Trial(0.0, "", 10**6).num_slots(100) == live.SLOTS_BYTES // 10**8
    assert Trial(0.0, "", 10**9).num_slots(100) == 1


def test_a_shared_beginning_leaves_each_prompt_a_token():
    start = tuple(range(40))
    assert shared_beginning([(*start, 1), (*start, 2, 3)]) == start
    assert shared_beginning([start, (*start, 2, 3)]) == start[:-1]
    assert shared_beginning([start, start]) == start[:-1]
    assert shared_beginning([start]) == ()
    assert shared_beginning([(1, 2, 3), (1, 2, 4)]) == ()


def test_all_is_written_to_its_limit_and_a_stop_comes_between_steps():
    writings = [Writing((5, n), n % 3 + 1, lambda _: False) for n in range(3, 20)]
    with torch.no_grad():
        write(family("llama"), writings, Sampling(), 4)
    assert all(len(one.written) == one.limit for one in writings)
    left = iter(range(3))

    def check_stop():
        if next(left, None) is None:
            raise Interrupted("stopped")

    again = [Writing((5, n), 9, lambda _: False) for n in range(3)]
    with torch.no_grad(), pytest.raises(Interrupted):
        write(family("llama"), again, Sampling(), 4, check_stop)
    assert [len(one.written) for one in again] == [3, 3, 3]


@pytest.mark.parametrize("name", TREES)
def test_under_autocast_nearly_the_same_is_written(name):
    def written():
        shared = tuple(range(30, 60))
        writings = [Writing((*shared, n), 6, lambda _: False) for n in range(5)]
        write(family(name), writings, Sampling(), 3)
        return [token for one in writings for token in one.written]

    with torch.no_grad():
        exact = written()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = written()
    assert sum(a == b for a, b in zip(exact, rough, strict=True)) > len(exact) / 3


# ---------------------------------------------------------------- sampling


def drawn(num_slots, order=1, seed=0, **options):
    keys = [f"item {n}" for n in range(9)]
    writings = [Writing((5, 6, n + 9), 6, lambda _: False, key) for n, key in enumerate(keys)]
    with torch.no_grad():
        write(family("llama"), writings[::order], Sampling(1.0, seed=seed, **options), num_slots)
    return [one.written for one in writings]


def test_what_is_drawn_does_not_depend_on_the_batch():
    assert drawn(1) == drawn(4) == drawn(9, order=-1)
    assert drawn(4, seed=1) != drawn(4)


def test_draws_follow_the_probabilities():
    logits_BV = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).log_softmax(-1)
    draws = Sampling(1.0)(
        logits_BV.expand(4000, -1), [Writing((1,), 1, bool, str(n)) for n in range(4000)]
    )
    counts = torch.bincount(torch.tensor(draws), minlength=4) / 4000
    assert torch.allclose(counts, logits_BV[0].exp(), atol=0.03)


@pytest.mark.parametrize(("options", "allowed"), [({"top_k": 2}, {1, 2}), ({"top_p": 0.6}, {2})])
def test_draws_keep_to_the_likeliest(options, allowed):
    logits_BV = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    writings = [Writing((1,), 1, bool, str(n)) for n in range(300)]
    assert set(Sampling(1.0, **options)(logits_BV.expand(300, -1), writings)) == allowed
