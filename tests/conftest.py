"""Tiny random models, made in a second, and a network that is shut."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# a deadline measures the machine and what is imported on the way, not the code
settings.register_profile("retain", deadline=None)
settings.load_profile("retain")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = (
    "the cat sat on a mat and the dog ran to the sea while bones heart muscle nerve blood drug "
    "dose question answer yes no one two three four five six seven eight nine ten which what who "
    "where Anatomy Surgery Pathology Medicine मेरो नाम यह एक किताब है और वह घर जा रहा है"
)


def make_tokenizer():
    """A byte-level BPE of 400 tokens with a chat template, trained on two sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def make_model(seed: int = 0, **changes):
    """A Llama of two layers and about 40 k weights; ``changes`` go to its configuration."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": 400,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    } | changes
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**settings)).eval()


@pytest.fixture(scope="session")
def tokenizer():
    """The tiny tokenizer."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory, tokenizer) -> Path:
    """A plain Hugging Face folder with a tiny random Llama and its tokenizer; do not change it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_model():
    """A fresh tiny random Llama in evaluation mode."""
    return make_model()
