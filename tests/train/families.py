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


def opt(**changes):
    """Its dropout is a function, not a module."""
    from transformers import OPTConfig, OPTForCausalLM

    settings = {
        "vocab_size": 400, "hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 2,
        "ffn_dim": 64, "num_attention_heads": 4, "max_position_embeddings": 256,
    } | changes  # fmt: skip
    return _seeded(OPTForCausalLM, OPTConfig(**settings))


def falcon():
    """Its attention fails without a mask, so its sequences cannot share a row either."""
    from transformers import FalconConfig, FalconForCausalLM

    config = FalconConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return _seeded(FalconForCausalLM, config)


FAMILIES = {
    build.__name__: build for build in (llama, llama_untied, gpt2, gemma3)
}  # those whose sequences share a row


def _seeded(kind, config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(config).eval()


def t5(**changes):
    """An encoder of three blocks and a decoder of two, with gates as mT5 and mT0 have them."""
    from transformers import T5Config, T5ForConditionalGeneration

    settings = {
        "vocab_size": 400, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3,
        "num_decoder_layers": 2, "num_heads": 4, "dropout_rate": 0.0, "pad_token_id": 0,
        "eos_token_id": 2, "decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu",
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 32,
    } | changes  # fmt: skip
    return _seeded(T5ForConditionalGeneration, T5Config(**settings))


def bart():
    """With positions that are learnt, and a bias after the head."""
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=400, d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, encoder_attention_heads=4, decoder_attention_heads=4, dropout=0.0,
        attention_dropout=0.0, max_position_embeddings=128, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
    )  # fmt: skip
    return _seeded(BartForConditionalGeneration, config)


WITH_ENCODER = {"t5": t5, "bart": bart}


def make_t5_tokenizer():
    """The tiny tokenizer as T5's are: no chat template, texts end with the end-of-text token."""
    from tokenizers import processors

    from tests.conftest import make_tokenizer

    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|im_end|>", special_tokens=[("<|im_end|>", tokenizer.eos_token_id)]
    )
    return tokenizer


def make_t5_folder(folder, **changes):
    """A model folder with a tiny T5 and its tokenizer."""
    t5(**changes).save_pretrained(folder)
    make_t5_tokenizer().save_pretrained(folder)
    return folder
