"""Attention on the shipped sentences: right tokens, right weights, local layers, flat controls."""

import json

import numpy as np
import pytest
import torch

from retain.errors import TaskError
from retain.evaluate.probes import attention
from retain.evaluate.probes.sentences import MARKED, sentences
from retain.evaluate.probes.step import Models
from retain.measure.attention import even_share
from retain.model.load import load
from tests.evaluate.evaluation_models import bloom, gemma3, gpt2, mamba

SENTENCES = [one for listed in sentences().values() for one in listed]


def test_twenty_sentences_a_language_each_with_one_dependency():
    assert {language: len(lines) for language, lines in MARKED.items()} == dict.fromkeys(
        ("english", "hindi", "nepali"), 20
    )
    assert len({one.text for one in SENTENCES}) == 60
    for one in SENTENCES:
        assert one.earlier < one.later
        assert one.kind in ("agreement", "antecedent", "modifier")
        assert not set("[]<>") & set(one.text)


@pytest.mark.parametrize("sentence", SENTENCES[::7], ids=lambda one: one.kind)
def test_the_tokens_of_a_word_spell_it(sentence, tokenizer):
    ids, places = attention._tokens(tokenizer, sentence)
    for word, place in zip(sentence.words, places, strict=True):
        told = tokenizer.decode([ids[index] for index in place]).strip()
        assert told.rstrip(".,?।") == word.rstrip(".,?।")


def as_loaded(model, base):
    loaded = load(str(base), precision="fp32")
    return type(loaded)(**{**vars(loaded), "model": model})


def test_weights_are_those_of_the_model(base, tokenizer):
    loaded = load(str(base), precision="fp32")
    sentence = SENTENCES[0]
    [read] = attention._read(loaded, 1, [sentence])
    ids = torch.tensor([[1, *tokenizer(sentence.text, add_special_tokens=False).input_ids]])
    loaded.model.set_attn_implementation("eager")
    with torch.no_grad():
        given = loaded.model(ids, output_attentions=True).attentions
    earlier, later = (read.tokens[one] for one in (sentence.earlier, sentence.later))
    for layer, weight in enumerate(given):
        literal = weight[0][:, later][:, :, earlier].sum(-1).mean(-1).numpy()
        assert read.between(sentence.earlier, sentence.later)[layer] == pytest.approx(literal)
        sink = weight[0][:, later][:, :, 0].mean(-1).numpy()
        assert read.sink[layer, :, sentence.later] == pytest.approx(sink)


def test_sentences_of_one_length_read_together_are_as_read_alone(base, monkeypatch):
    loaded = load(str(base), precision="fp32")
    together = attention._read(loaded, 1, SENTENCES)
    assert [one.sentence for one in together] == SENTENCES
    monkeypatch.setattr(attention, "AT_ONCE", 1)
    for one, alone in zip(together, attention._read(loaded, 1, SENTENCES), strict=True):
        assert one.tokens == alone.tokens
        np.testing.assert_allclose(one.weight, alone.weight, atol=1e-6)
        np.testing.assert_allclose(one.sink, alone.sink, atol=1e-6)


def test_a_local_layer_says_nothing_of_what_it_cannot_see(base):
    model = gemma3()  # looks back over 16 tokens in its first layer
    loaded = as_loaded(model, base)
    before = model.config._attn_implementation
    long = max(SENTENCES, key=lambda one: len(one.text))
    [read] = attention._read(loaded, 1, [long])
    assert model.config._attn_implementation == before
    first, last = read.between(0, len(long.words) - 1)
    assert np.isnan(first).all()
    assert not np.isnan(last).any()
    next_to = read.between(len(long.words) - 2, len(long.words) - 1)
    assert not np.isnan(next_to).any()


def test_random_weights_follow_nothing(base):
    found = attention.measure(Models(base, base), [])
    assert set(found["maps"]) == {"english", "hindi", "nepali", "all"}
    told = found["maps"]["all"]
    assert told["num_sentences"] == 60
    assert np.array(told["dependency"]).shape == (4, 4)
    # words of dependencies share tokens, so that random weights may be alike on them, but rarely
    assert told["num_heads"] <= 1
    assert told["shuffled"]["num_heads"] == 0
    assert np.array(found["sink"]).shape == (4, 4)
    assert found["sink_token"] == "<|im_start|>"
    json.dumps(found, allow_nan=False)


def test_heads_that_spread_evenly_show_no_difference(base, monkeypatch):
    """Even attention behind a sink: a word that stands later gets less, and so does its control."""
    real = attention._read

    def even(loaded, start, listed):
        found = real(loaded, start, listed)
        for read in found:
            for later, earlier in np.ndindex(len(read.tokens), len(read.tokens)):
                if earlier < later:
                    read.weight[:, :, later, earlier] = 0.3 * even_share(read.pair(earlier, later))
        return found

    monkeypatch.setattr(attention, "_read", even)
    for told in attention.measure(Models(base, base), [])["maps"].values():
        assert told["dependency"] == told["control"]
        assert told["num_heads"] == told["shuffled"]["num_heads"] == 0


def test_a_head_that_follows_is_found(base, monkeypatch):
    """A model whose second head looks from each marked later word at its earlier word."""
    real = attention._read

    def follow(loaded, start, listed):
        found = real(loaded, start, listed)
        for read in found:
            read.weight[2, 1, read.sentence.later, read.sentence.earlier] += 0.5
        return found

    monkeypatch.setattr(attention, "_read", follow)
    told = attention.measure(Models(base, base), [])["maps"]
    for language in ("english", "all"):
        assert told[language]["p"][2][1] < 0.01
        assert told[language]["num_heads"] <= 2
        assert np.nanargmin(told[language]["p"]) == 4 * 2 + 1
        assert told[language]["shuffled"]["num_heads"] == 0


@pytest.mark.parametrize("build", [gpt2, bloom])
def test_other_families_give_their_weights(base, build):
    [read] = attention._read(as_loaded(build(), base), 1, SENTENCES[:1])
    assert read.weight.shape[:2] == (2, 4)


def test_a_model_without_attention_is_refused(base):
    with pytest.raises(TaskError, match="gives no attention weights"):
        attention._read(as_loaded(mamba(), base), 1, SENTENCES[:1])


def test_a_tokenizer_without_places_is_refused(tokenizer):
    slow = type("Slow", (), {"is_fast": False})()
    with pytest.raises(TaskError, match="Slow does not say where"):
        attention._tokens(slow, SENTENCES[0])
