"""A model's mean hidden states: what transformers gives, whatever else is in the batch."""

import numpy as np
import pytest
import torch

from retain.model import embed
from retain.model.load import load

TEXTS = ["the cat sat on a mat", "मेरो नाम", "", "dose " * 90, "no", "yes two three"]


@pytest.fixture(scope="module")
def loaded(tiny_model_folder):
    return load(str(tiny_model_folder), precision="fp32", device="cpu")


def literal(loaded, text):
    tokens = loaded.tokenizer(text, add_special_tokens=False).input_ids[: embed.MAX_TOKENS]
    if not tokens:
        return np.zeros(loaded.model.config.hidden_size)
    with torch.no_grad():
        output = loaded.model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
    return output.hidden_states[-1][0].mean(dim=0).double().numpy()


def test_agrees_with_transformers_one_text_at_a_time(loaded):
    found = embed.mean_states(loaded)(TEXTS)
    expected = np.stack([literal(loaded, text) for text in TEXTS])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not found[2].any()


def test_batches_do_not_matter(loaded, monkeypatch):
    whole = embed.mean_states(loaded)(TEXTS)
    monkeypatch.setattr(embed, "BATCH_TOKENS", 8)
    np.testing.assert_allclose(embed.mean_states(loaded)(TEXTS), whole, atol=1e-5)
