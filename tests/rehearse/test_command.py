"""``retain rehearse``: a corpus as a file, from the command line."""

import json

import pytest

from retain import api
from retain.cli import main
from retain.errors import RetainError
from retain.model import cache


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path / "cache"))
    yield
    cache.clear()


@pytest.fixture
def prompts(tmp_path):
    """A file of texts whose first words are continued."""
    path = tmp_path / "texts.jsonl"
    rows = [{"text": f"the cat {number} sat on the mat and the dog ran"} for number in range(9)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_it_writes_a_file_and_says_how_varied_it_is(tmp_path, prompts, tiny_model_folder, capsys):
    output = tmp_path / "corpus.jsonl"
    words = ["rehearse", str(tiny_model_folder), f"prompts={prompts}", "num_documents=6"]
    words += ["max_new_tokens=8", "temperature=1.0", "--method", "generative_replay"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--output", str(output)])
    assert stop.value.code == 0
    lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert len(lines) == 6
    assert all(line["text"].startswith("the cat") for line in lines)
    text = capsys.readouterr().out
    for word in ("6 documents", "distinct-2", "self-BLEU", "mean similarity", "depth 1"):
        assert word in text
    assert sorted(path.name for path in tmp_path.glob("corpus*")) == ["corpus.jsonl"]
    assert {example["model"] for example in lines} == {lines[0]["model"]}


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        ("generative_replay", [], r"asks about the data of a recipe \(new\).* prompts=FILE"),
        ("generative_replay", ["share=0.1"], "share: says what a recipe does with a corpus"),
        ("tree_generation", ["num_token=9"], "Did you mean 'num_tokens'"),
        ("tree_generation", ["num_tokens=9"], "a tree of .* num_tokens is 9"),
        ("tree", [], "Did you mean 'tree_generation'.* Known: generative_replay, tree_generation"),
        ("freeze", [], "writes no corpus; those that do: generative_replay, tree_generation"),
    ],
)
def test_what_cannot_be_is_said(method, values, message, tmp_path, tiny_model_folder):
    with pytest.raises(RetainError, match=message):
        api.rehearse(str(tiny_model_folder), method, values, output=tmp_path / "x.jsonl")


def test_a_file_that_is_there_is_not_written_over(tmp_path, tiny_model_folder):
    (tmp_path / "x.jsonl").write_text("mine")
    with pytest.raises(RetainError, match="exists already"):
        api.rehearse(str(tiny_model_folder), "tree_generation", output=tmp_path / "x.jsonl")
