"""What is told to vLLM and taken from it; what it does itself is in ``test_engines``."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from retain.decode import vllm_engine
from retain.decode.choose import Sampling
from retain.decode.live import Writing
from retain.decode.vllm_engine import check_engine, options, taken, vllm_writer
from retain.decode.writer import Ends
from retain.errors import ModelError
from retain.model import adapters
from retain.model.adapters import Adapter
from retain.model.load import load


def writing(tokenizer, until=(), end_tokens=(), key="a"):
    return Writing((5, 6), 9, Ends(tokenizer, until, set(end_tokens)), key)


def test_ends_are_ours_and_every_text_has_a_seed_of_its_own(tokenizer):
    told = options(writing(tokenizer, end_tokens=(9, 4)), Sampling())
    assert told.pop("seed") == options(writing(tokenizer), Sampling())["seed"]
    assert told == {
        "max_tokens": 9,
        "temperature": 0.0,
        "ignore_eos": True,
        "logprobs": 0,
        "detokenize": False,
        "stop_token_ids": [4, 9],
    }
    drawn = options(writing(tokenizer, ("\n", "")), Sampling(0.7, None, 0.9))
    assert (drawn["top_p"], drawn["top_k"], drawn["stop"]) == (0.9, 0, ["\n"])
    assert drawn["detokenize"]
    assert not drawn["skip_special_tokens"]
    seeds = {
        options(writing(tokenizer, key=key), Sampling(1.0, seed=seed))["seed"]
        for key in "ab"
        for seed in (0, 1)
    }
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_what_goes_on_behind_an_end_is_left(tokenizer):
    found = SimpleNamespace(token_ids=(11, 4, 12), cumulative_logprob=-3.0)
    assert taken(writing(tokenizer, end_tokens=(4,)), found) == [11, 4]
    assert taken(writing(tokenizer), found) == [11, 4, 12]


def test_it_is_refused_where_it_cannot_be(monkeypatch):
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'retain\[vllm\]'"):
        check_engine()
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="a GPU of CUDA, and this process sees none"):
        check_engine()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_engine()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"kind": "ia3"}, "it is of type IA3"),
        ({"kind": "dora"}, r"it has magnitudes \(DoRA\)"),
        ({"embeddings": True}, "it holds whole modules"),
    ],
)
def test_an_adapter_that_it_cannot_use_is_named(tmp_path, tiny_model_folder, changes, fault):
    loaded = load(str(tiny_model_folder), precision="fp32")
    model = adapters.attach(loaded.model, Adapter(**({"kind": "lora", "r": 4} | changes)))
    adapted = replace(loaded, model=model, folder=tmp_path)
    with pytest.raises(ModelError, match=fault), vllm_writer(adapted, 100):
        pass
    with pytest.raises(ModelError, match="have 4 bits"), vllm_writer(
        replace(adapted, quantisation="nf4"), 100
    ):  # fmt: skip
        pass
