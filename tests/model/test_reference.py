import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from retain.errors import EmbeddedError, ModelError
from retain.model import gguf
from retain.model import reference as references
from retain.model.reference import folder, identity, kind, tokenizer_sha256


@pytest.fixture
def copy(tmp_path, tiny_model_folder):
    return shutil.copytree(tiny_model_folder, tmp_path / "copy")


def test_importing_it_loads_neither_torch_nor_transformers():
    code = (
        "import sys, retain.model.reference, retain.model.precision, retain.model.facts;"
        "print({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_kinds(copy):
    assert kind(str(copy)) == "folder"
    assert kind("a/b.gguf") == "gguf"
    assert kind("org/name") == "hub"
    assert kind("gpt2") == "hub"


@pytest.mark.parametrize("path", ["/no/such/place", "./here", "~/no-such", "a/b/c", ""])
def test_a_path_without_anything_there_is_not_taken_for_a_hub_id(path):
    with pytest.raises(ModelError, match=r"no such folder|the name is empty"):
        kind(path)


def test_a_file_is_not_a_model(copy):
    with pytest.raises(ModelError, match="is a file"):
        kind(str(copy / "config.json"))


def test_a_hub_id_that_is_not_there_names_the_nearest_embedded_models():
    with pytest.raises(ModelError, match="model name not found") as caught:
        folder("HuggingFaceTB/SmolLM2-135M-Instructt")
    assert "embedded:smollm2-135m-instruct" in str(caught.value)
    with pytest.raises(ModelError, match="at revision 'v9'"):
        identity("org/none", "v9")


def test_a_commit_needs_no_network():
    commit = "a" * 40
    found = identity("org/name", commit)
    assert found["revision"] == commit
    assert found != identity("org/name", "b" * 40)


def test_an_unknown_embedded_model_is_named():
    with pytest.raises(EmbeddedError, match="Did you mean 'smollm2-135m-instruct'"):
        identity("embedded:smollm2-135m-instrukt")


def test_identity_of_a_folder_changes_with_what_the_model_does_and_with_nothing_else(copy):
    first = identity(str(copy))
    (copy / "README.md").write_text("a card")
    assert identity(str(copy)) == first
    moved = shutil.move(copy, copy.parent / "moved")
    assert identity(str(moved))["sha256"] == first["sha256"]
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"):
        path = Path(moved, name)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert identity(str(moved))["sha256"] != first["sha256"], name
        path.write_bytes(content)
        assert identity(str(moved))["sha256"] == first["sha256"], name


def test_the_tokenizer_has_a_hash_of_its_own(copy):
    first = tokenizer_sha256(copy)
    (copy / "config.json").write_text("{}")
    assert tokenizer_sha256(copy) == first
    (copy / "chat_template.jinja").write_text("other")
    assert tokenizer_sha256(copy) != first


def test_a_hash_is_read_once_until_the_file_changes(copy, monkeypatch):
    read = []
    digest = references.file_digest
    monkeypatch.setattr(references, "file_digest", lambda *a: read.append(1) or digest(*a))
    identity(str(copy))
    num_files = len(read)
    identity(str(copy))
    assert len(read) == num_files > 0
    (copy / "config.json").write_text(json.dumps({"changed": True}))
    identity(str(copy))
    assert len(read) == num_files + 1


def test_a_torn_memo_is_no_memo(tmp_path):
    (tmp_path / "memo.json").write_text('{"key":')
    assert references.recall(tmp_path / "memo.json") == {}
    references.memorise(tmp_path / "memo.json", {"a": 1})
    assert references.recall(tmp_path / "memo.json") == {"a": 1}


def test_pickled_weights_are_refused_by_name(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"found pytorch_model\.bin, a pickled file"):
        folder(str(copy))


def test_an_adapter_folder_is_told_apart(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="it holds an adapter"):
        folder(str(tmp_path))


def test_a_gguf_file_needs_the_command_lines_word(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no such file"):
        folder(str(tmp_path / "x.gguf"))
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="add --allow-gguf"):
        folder(str(tmp_path / "x.gguf"))
    monkeypatch.setattr(references.trust, "gguf", True)
    assert identity(str(tmp_path / "x.gguf"))["sha256"]


def test_a_trusted_gguf_file_is_converted_once_and_sealed(tmp_path, monkeypatch):
    made = []

    def dequantise(file, into):
        made.append(file)
        into.mkdir()
        (into / "config.json").write_text("{}")
        (into / "model.safetensors").write_bytes(file.read_bytes())

    monkeypatch.setattr(gguf, "dequantise", dequantise)
    monkeypatch.setattr(references.trust, "gguf", True)
    (tmp_path / "x.gguf").write_bytes(b"GGUF of this test")
    first = folder(str(tmp_path / "x.gguf"))
    assert folder(str(tmp_path / "x.gguf")) == first
    assert len(made) == 1
    assert (first / "MANIFEST.json").is_file()


def test_a_gguf_file_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(references.trust, "gguf", True)
    (tmp_path / "y.gguf").write_bytes(b"not one")
    with pytest.raises(ModelError, match="cannot read it"):
        folder(str(tmp_path / "y.gguf"))
