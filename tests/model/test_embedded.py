"""A GGUF file becomes a plain folder, once, whole, with the very same numbers."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from retain.embedded import TABLE, Member, Package, join_members
from retain.embedded import table as tables
from retain.errors import EmbeddedError, ModelError
from retain.model import embedded
from retain.model.dequantise import dequantise
from retain.model.embedded import materialise, origin

NAME = "smollm2-135m-instruct"
ARCHITECTURE = {
    "block_count": 2,
    "context_length": 512,
    "embedding_length": 32,
    "feed_forward_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "vocab_size": 400,
    "rope.dimension_count": 8,
}
TENSORS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _interleaved(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """Rows of a query or key projection in the order in which GGUF stores those of a Llama."""
    rows, columns = weight.shape
    halves = weight.reshape(num_heads, 2, rows // num_heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def _gguf_name(name: str) -> str:
    if name.startswith("model.layers."):
        number, _, rest = name.removeprefix("model.layers.").partition(".")
        return f"blk.{number}.{TENSORS[rest.removesuffix('.weight')]}.weight"
    return {"model.embed_tokens.weight": "token_embd.weight"}.get(name, "output_norm.weight")


@pytest.fixture
def gguf(tmp_path, tiny_model, tokenizer) -> Path:
    """The tiny Llama as a GGUF file in Q8_0, with its tokenizer and chat template."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    path = tmp_path / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    for key, value in ARCHITECTURE.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-6)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    vocabulary += [f"unused {i}" for i in range(len(vocabulary), 400)]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if word.startswith("<|") else 1 for word in vocabulary])
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(tokenizer.chat_template)
    for name, tensor in tiny_model.state_dict().items():
        if name == "lm_head.weight":
            continue
        numbers = tensor.numpy()
        if "q_proj" in name or "k_proj" in name:
            numbers = _interleaved(numbers, 4 if "q_proj" in name else 2)
        if numbers.ndim == 2:
            raw = quants.quantize(numbers, GGMLQuantizationType.Q8_0)
            writer.add_tensor(_gguf_name(name), raw, raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(_gguf_name(name), numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def entry(tmp_path, monkeypatch, gguf):
    """The table's default model, its package replaced by a tiny one that is in the cache."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("RETAIN_CACHE", str(cache))
    wheel = cache / "packages" / "tiny-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf, "tiny/tiny.gguf")
        archive.writestr("tiny-1.0.dist-info/LICENSE", "do as you like")
    content = wheel.read_bytes()
    digest = sha256(content).hexdigest()
    package = Package("tiny", "1.0", "pypi", wheel.name, digest, "MIT", len(content))
    tiny = replace(
        TABLE[NAME],
        members=(Member(package, "tiny/tiny.gguf"),),
        terms=(Member(package, "tiny-1.0.dist-info/LICENSE"),),
        sha256=sha256(gguf.read_bytes()).hexdigest(),
        quantisation="GGUF Q8_0",
    )
    monkeypatch.setitem(tables.TABLE, NAME, tiny)
    return tiny


def test_the_folder_is_a_plain_one_with_the_numbers_of_the_file(entry, gguf, tiny_model):
    folder = materialise(NAME)
    assert {path.name for path in folder.iterdir()} >= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "retain_origin.json",
        "LICENSE",
        "MANIFEST.json",
    }
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert not hasattr(model.config, "quantization_config")
    original = tiny_model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, original[name], atol=2e-3), f"{name}: Q8_0 is that near"
    words = str(folder.joinpath("config.json").read_text() + str(origin(folder)))
    assert str(gguf.parent) not in words, "no path of this machine"


def test_embedding_and_head_stay_tied(entry):
    model = AutoModelForCausalLM.from_pretrained(materialise(NAME))
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_the_tokenizer_and_its_chat_template_come_along(entry, tokenizer):
    read = AutoTokenizer.from_pretrained(materialise(NAME))
    text = "the cat sat on a mat मेरो नाम"
    assert read(text).input_ids == tokenizer(text).input_ids
    assert read.chat_template == tokenizer.chat_template
    assert (read.bos_token_id, read.eos_token_id) == (1, 2)


def test_the_second_call_converts_nothing_and_needs_no_package(entry, monkeypatch, tmp_path):
    folder = materialise(NAME)
    monkeypatch.setattr(embedded, "dequantise", lambda *a, **k: pytest.fail("converted again"))
    for path in (tmp_path / "cache" / "packages").iterdir():
        path.unlink()
    assert materialise(NAME) == folder
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "nothing is left over"


def test_origin_says_what_the_weights_are(entry, tmp_path):
    said = origin(materialise(NAME))
    assert said is not None
    assert (said["name"], said["quantisation"], said["licence"]) == (
        NAME,
        "GGUF Q8_0",
        "Apache-2.0",
    )
    assert said["sha256"] == entry.sha256
    assert "de-quantised" in said["note"]
    assert origin(tmp_path) is None


def test_a_damaged_origin_is_an_error(tmp_path):
    (tmp_path / "retain_origin.json").write_text("{")
    with pytest.raises(EmbeddedError, match=r"retain_origin\.json: damaged"):
        origin(tmp_path)


def test_a_damaged_folder_is_made_again(entry):
    folder = materialise(NAME)
    good = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(b"short")
    assert (materialise(NAME) / "model.safetensors").read_bytes() == good


def test_other_weights_than_the_tables_are_refused(entry, monkeypatch, tmp_path):
    monkeypatch.setitem(tables.TABLE, NAME, replace(entry, sha256="0" * 64))
    with pytest.raises(EmbeddedError, match=f"not those of the table: sha256 {entry.sha256}"):
        materialise(NAME)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_data_is_not_a_model():
    with pytest.raises(EmbeddedError, match="is data, not a model; give it as `data:`"):
        materialise("piqa")


def test_the_converter_version_makes_another_folder(entry, monkeypatch):
    first = materialise(NAME)
    monkeypatch.setattr("retain.embedded.pins.CONVERTER_VERSION", 2)
    assert materialise(NAME) != first


def test_nothing_is_printed_or_warned_and_settings_are_restored(entry, capfd):
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    from transformers import modeling_gguf_pytorch_utils as reader

    bar = reader.tqdm
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        materialise(NAME)
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in caught] == []
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, shown)
    assert reader.tqdm is bar


def test_progress_counts_tensors(entry):
    seen = []
    materialise(NAME, progress=lambda done, total, text: seen.append((done, total, text)))
    assert seen[0][2] == "de-quantising model.gguf"
    assert [done for done, _, _ in seen] == list(range(seen[0][1]))


def test_a_file_that_is_no_gguf_is_an_error(tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(ModelError, match=r"x\.gguf: transformers cannot read it"):
        dequantise(path, tmp_path / "out")


KILLED = """
import os, sys, json
from retain.embedded import Member, Package
from retain.embedded import table
from dataclasses import replace
given = json.loads(sys.argv[1])
package = Package(**given["package"])
entry = replace(table.TABLE[given["name"]], members=(Member(package, "tiny/tiny.gguf"),),
                terms=(), sha256=given["sha256"])
table.TABLE[given["name"]] = entry
from retain.model import embedded
def seal(folder):
    print("saved", flush=True)
    import time; time.sleep(60)
embedded.seal = seal
embedded.materialise(given["name"])
"""


def test_killed_while_saving_the_next_call_makes_it_whole(entry, tmp_path):
    from dataclasses import asdict

    given = {"name": NAME, "package": asdict(entry.packages[0]), "sha256": entry.sha256}
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, json.dumps(given)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "saved\n"
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    models = tmp_path / "cache" / "models"
    assert [path.name for path in models.iterdir() if not path.name.startswith(".")] == []
    started = time.monotonic()
    folder = materialise(NAME)
    assert time.monotonic() - started < 60, "the dead process holds no lock"
    assert [path.name for path in models.iterdir()] == [folder.name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_parameters", "template"), [(NAME, 134_515_008, True)], ids=["smollm2"]
)
def test_the_real_model_is_the_file_number_for_number(name, num_parameters, template, tmp_path):
    from gguf import GGUFReader, quants

    folder = materialise(name)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters
    assert (tokenizer.chat_template is not None) == template
    join_members(TABLE[name].members, tmp_path / "model.gguf")
    again = tmp_path / "again"
    dequantise(tmp_path / "model.gguf", again)
    kept = (folder / "model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == kept, "the same every time"
    stored = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "model.gguf").tensors}
    for ours, theirs in (("embed_tokens", "token_embd"), ("layers.7.mlp.up_proj", "blk.7.ffn_up")):
        tensor = stored[f"{theirs}.weight"]
        numbers = quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(model.get_parameter(f"model.{ours}.weight").detach(), numbers)
    ids = tokenizer("The capital of France is Paris.", return_tensors="pt").input_ids
    with torch.no_grad():
        loss = model(ids, labels=ids).loss
    assert loss < 4
