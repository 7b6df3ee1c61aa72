"""Tiny models of several families, with weights large enough to tell right from wrong."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import torch

_spec = spec_from_file_location("root_conftest", Path(__file__).parents[1] / "conftest.py")
root = module_from_spec(_spec)  # `import conftest` would be the conftest of any folder
_spec.loader.exec_module(root)
make_model, make_tokenizer = root.make_model, root.make_tokenizer


def sharp(model, seed=1):
    """Weights large enough that a wrong mask or position shows in the log-probabilities."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    return model.eval()


def llama():
    return sharp(make_model())


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    return sharp(GPT2LMHeadModel(config))


def gemma3():
    """Local layers look back over 16 tokens."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=16, bos_token_id=1,
        eos_token_id=2, pad_token_id=0, final_logit_softcapping=5.0, max_position_embeddings=512,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    return sharp(Gemma3ForCausalLM(config))


def qwen3():
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    return sharp(Qwen3ForCausalLM(config))


def bloom():
    """Distances come from a padding mask (ALiBi): its sequences cannot share a row."""
    from transformers import BloomConfig, BloomForCausalLM

    config = BloomConfig(vocab_size=400, hidden_size=32, n_layer=2, n_head=4)
    return sharp(BloomForCausalLM(config))


def mamba():
    """Its state runs over a row from left to right: nothing can be shared."""
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, state_size=4)
    return sharp(MambaForCausalLM(config))


def t5():
    """An encoder and a decoder."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=400, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=2, dropout_rate=0.0,
    )  # fmt: skip
    return sharp(T5ForConditionalGeneration(config))


def _rope(longest, **rope):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=longest,
        bos_token_id=1, eos_token_id=2, rope_parameters={"rope_theta": 1e4} | rope,
    )  # fmt: skip
    return sharp(LlamaForCausalLM(config))


def longrope():
    """Rows of more than 64 tokens have other frequencies at every position."""
    factors = {"short_factor": [1.0] * 4, "long_factor": [8.0] * 4, "factor": 8.0}
    return _rope(512, rope_type="longrope", original_max_position_embeddings=64, **factors)


def dynamic_rope():
    """Rows of more than 64 tokens have frequencies of their own length, and keep the last."""
    return _rope(64, rope_type="dynamic", factor=4.0)


def phimoe():
    """Its sliding window of 64 tokens is in the mask alone; attention functions are not told."""
    from transformers import PhimoeConfig, PhimoeForCausalLM

    config = PhimoeConfig(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_local_experts=4,
        num_experts_per_tok=2, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, sliding_window=64, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return sharp(PhimoeForCausalLM(config))


ROWWISE = {build.__name__: build for build in (longrope, dynamic_rope)}
TREES = {build.__name__: build for build in (llama, gpt2, gemma3, qwen3)}
OTHERS = {build.__name__: build for build in (bloom, mamba)}
