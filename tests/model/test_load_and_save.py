import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from retain.errors import ModelError
from retain.model import cache
from retain.model.load import load, load_empty
from retain.model.save import save
from tests.conftest import make_model

IDS = torch.tensor([[5, 9, 7, 300, 20]])


@pytest.fixture
def copy(tmp_path, tiny_model_folder):
    return shutil.copytree(tiny_model_folder, tmp_path / "copy")


def test_a_folder_opens_in_float32_and_evaluation_mode(tiny_model_folder, tiny_model):
    loaded = load(str(tiny_model_folder), precision="fp32", device="cpu")
    assert not loaded.model.training
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert (loaded.vocab_size, loaded.context_tokens) == (400, 512)
    assert loaded.folder == tiny_model_folder.resolve()
    with torch.no_grad():
        assert torch.equal(loaded.model(IDS).logits, tiny_model(IDS).logits)


def test_half_precision_weights_are_widened(tmp_path, tokenizer):
    make_model().to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load(str(tmp_path), precision="fp32").model
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_bf16_is_a_matter_of_the_context(tiny_model_folder):
    loaded = load(str(tiny_model_folder), precision="bf16", device="cpu")
    with torch.no_grad(), loaded.autocast():
        assert loaded.model(IDS).logits.dtype == torch.bfloat16
    assert loaded.model.lm_head.weight.dtype == torch.float32


def test_the_progress_bar_of_transformers_is_left_as_found(tiny_model_folder):
    before = logging.is_progress_bar_enabled()
    load(str(tiny_model_folder), precision="fp32")
    assert logging.is_progress_bar_enabled() == before


@pytest.mark.parametrize("quantisation", [None, "nf4"])
def test_missing_weights_are_refused_not_made_up(copy, quantisation):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are missing .*layers\.1\.mlp\.up_proj"):
        load(str(copy), precision="fp32", quantisation=quantisation)


def test_damaged_weights_are_refused(copy):
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="does not open"):
        load(str(copy), precision="fp32")


def test_a_tokenizer_of_another_model_is_refused(tmp_path, tokenizer):
    make_model(vocab_size=300).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="the tokenizer has 400 tokens and the model embeds 300"):
        load(str(tmp_path), precision="fp32")


def test_a_folder_without_a_tokenizer_is_refused(copy):
    for file in copy.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="the tokenizer in"):
        load(str(copy), precision="fp32")


def test_code_that_comes_with_a_model_is_never_run(copy):
    canary = copy / "canary"
    config = json.loads((copy / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.M"},
    }
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "mine.py").write_text(f"open({str(canary)!r}, 'w')")
    with pytest.raises(ModelError, match="is never run"):
        load(str(copy), precision="fp32")
    assert not canary.exists()


def test_an_empty_model_has_shapes_and_no_memory(tiny_model_folder):
    model = load_empty(tiny_model_folder)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    names = [name for name, _ in make_model().named_parameters()]
    assert [name for name, _ in model.named_parameters()] == names


@pytest.mark.parametrize("tied", [True, False])
def test_saved_and_opened_plainly_it_is_the_same_to_the_last_bit(tmp_path, tiny_model_folder, tied):
    model = make_model(tie_word_embeddings=tied)
    save(model, tiny_model_folder, tmp_path / "out", "# card\n")
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        assert torch.equal(opened(IDS).logits, model(IDS).logits)
    assert (opened.lm_head.weight is opened.model.embed_tokens.weight) == tied
    assert (tmp_path / "out" / "README.md").read_text() == "# card\n"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template
    for file in tiny_model_folder.glob("tokenizer*"):
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


def test_the_cache_keeps_one_model_and_gives_it_away_once(tiny_model_folder, copy):
    cache.clear()
    first = cache.get(tiny_model_folder, precision="fp32")
    assert cache.get(tiny_model_folder, precision="fp32") is first
    other = cache.get(copy, precision="fp32")
    assert cache.get(tiny_model_folder, precision="fp32") is not first
    cache.put(copy, other, precision="fp32")
    assert cache.take(copy, precision="fp32") is other
    assert cache.get(copy, precision="fp32") is not other
    cache.clear()
