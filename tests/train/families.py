"""Tiny random models of several families, tied and untied."""

import torch

from tests.conftest import make_model


def llama():
    return make_model()


def llama_untied():
    return make_model(tie_word_embeddings=False)


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=1,
        eos_token_id=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return _seeded(GPT2LMHeadModel, config)


def gemma3():
    """With sliding windows of 16 tokens, and a soft cap after the head."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=16, bos_token_id=1,
        eos_token_id=2, pad_token_id=0, final_logit_softcapping=5.0,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    return _seeded(Gemma3ForCausalLM, config)


def bloom():
    """Positions come from the attention mask (ALiBi), so its sequences cannot share a row."""
    from transformers import BloomConfig, BloomForCausalLM

    return _seeded(
        BloomForCausalLM, BloomConfig(vocab_size=400, hidden_size=32, n_layer=2, n_head=4)
    )


FAMILIES = {
    build.__name__: build for build in (llama, llama_untied, gpt2, gemma3)
}  # those whose sequences share a row


def _seeded(kind, config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(config).eval()
