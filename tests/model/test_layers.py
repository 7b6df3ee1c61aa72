import pytest
import torch

from retain.errors import ModelError
from retain.model.facts import describe
from retain.model.layers import block_prefixes, is_tied, places
from tests.conftest import make_model


def parts(model, kind):
    return [name for name, place in places(model).items() if place.part == kind]


def test_llama():
    model = make_model(tie_word_embeddings=False)
    found = places(model)
    assert block_prefixes(model) == ("model.layers",)
    assert parts(model, "embeddings") == ["model.embed_tokens.weight"]
    assert parts(model, "head") == ["lm_head.weight"]
    assert parts(model, "final_norm") == ["model.norm.weight"]
    assert parts(model, "other") == []
    kinds = {
        name.removeprefix("model.layers.1."): p.kind for name, p in found.items() if p.block == 1
    }
    assert kinds == {
        "self_attn.q_proj.weight": "attention",
        "self_attn.k_proj.weight": "attention",
        "self_attn.v_proj.weight": "attention",
        "self_attn.o_proj.weight": "attention",
        "mlp.gate_proj.weight": "mlp",
        "mlp.up_proj.weight": "mlp",
        "mlp.down_proj.weight": "mlp",
        "input_layernorm.weight": "norm",
        "post_attention_layernorm.weight": "norm",
    }
    assert sum(p.size for p in found.values()) == sum(p.numel() for p in model.parameters())


def test_a_tied_head_has_no_name_of_its_own():
    assert is_tied(make_model())
    assert parts(make_model(), "head") == []
    assert not is_tied(make_model(tie_word_embeddings=False))


def test_gpt2_with_position_embeddings_and_biases():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=400, n_embd=32, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2
    )  # fmt: skip
    with torch.device("meta"):
        model = GPT2LMHeadModel(config)
    model.tie_weights()
    assert parts(model, "embeddings") == ["transformer.wte.weight", "transformer.wpe.weight"]
    assert parts(model, "final_norm") == ["transformer.ln_f.weight", "transformer.ln_f.bias"]
    assert places(model)["transformer.h.2.attn.c_attn.bias"].kind == "attention"
    assert places(model)["transformer.h.2.mlp.c_proj.bias"].kind == "mlp"
    assert places(model)["transformer.h.0.ln_1.bias"].kind == "norm"


def test_norms_of_queries_are_norms_and_a_norm_below_the_blocks_is_the_embeddings():
    from transformers import BloomConfig, BloomForCausalLM, Qwen3Config, Qwen3ForCausalLM

    with torch.device("meta"):
        qwen = Qwen3ForCausalLM(
            Qwen3Config(vocab_size=400, hidden_size=32, num_hidden_layers=2, head_dim=8)
        )
        bloom = BloomForCausalLM(BloomConfig(vocab_size=400, hidden_size=32, n_layer=2, n_head=4))
    assert places(qwen)["model.layers.0.self_attn.q_norm.weight"].kind == "norm"
    assert "transformer.word_embeddings_layernorm.weight" in parts(bloom, "embeddings")
    assert parts(bloom, "final_norm") == ["transformer.ln_f.weight", "transformer.ln_f.bias"]


def test_blocks_that_cannot_be_told_are_an_error(tiny_model):
    tiny_model.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match=r"its 7 blocks were not found; .*model\.layers \(2\)"):
        places(tiny_model)


def test_facts_are_read_without_weights_and_remembered(tiny_model_folder, monkeypatch):
    first = describe(str(tiny_model_folder))
    assert (first.num_layers, first.hidden_size, first.vocab_size) == (2, 32, 400)
    assert first.tied
    assert first.num_parameters == sum(p.numel() for p in make_model().parameters())
    assert first.block_parameters == first.num_parameters - 400 * 32 - 32

    monkeypatch.setattr("retain.model.facts._read", None)
    assert describe(str(tiny_model_folder)) == first
