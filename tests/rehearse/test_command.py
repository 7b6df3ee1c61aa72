"""``retain rehearse``: a corpus as a file, from the command line."""

import json
from importlib import import_module

import pytest

from retain import api
from retain.cli import main
from retain.data.sources import load as load_source
from retain.errors import Interrupted, RetainError
from retain.model import cache
from retain.rehearse import grow
from retain.rehearse.log import Text
from retain.rehearse.pen import ModelPen
from retain.steps.lock import locked


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
        ("tree_generation", ["answer_tokens=60"], r"answer_tokens: must be a list; got 60"),
        ("tree_generation", ["num_tokens=abc"], "num_tokens: must be a whole number; got 'abc'"),
        ("tree_generation", ["shape=tall"], "shape: must be balanced, wide, .*; got 'tall'"),
        ("tree", [], "Did you mean 'tree_generation'.* Known: generative_replay, tree_generation"),
        ("freeze", [], "writes no corpus; those that do: generative_replay, tree_generation"),
    ],
)
def test_what_cannot_be_is_said(method, values, message, tmp_path, tiny_model_folder):
    with pytest.raises(RetainError, match=message):
        api.rehearse(str(tiny_model_folder), method, values, output=tmp_path / "x.jsonl")


def test_an_engine_that_is_not_known_or_not_here_is_said(tmp_path, tiny_model_folder, monkeypatch):
    def write(engine):
        output = tmp_path / "x.jsonl"
        api.rehearse(str(tiny_model_folder), "tree_generation", output=output, engine=engine)

    with pytest.raises(RetainError, match="Did you mean 'vllm'"):
        write("vlm")
    monkeypatch.setattr("retain.decode.vllm_engine.find_spec", lambda name: None)
    with pytest.raises(RetainError, match="vllm needs vLLM"):
        write("vllm")


def test_a_file_that_is_there_is_not_written_over(tmp_path, tiny_model_folder):
    (tmp_path / "x.jsonl").write_text("mine")
    with pytest.raises(RetainError, match="exists already"):
        api.rehearse(str(tiny_model_folder), "tree_generation", output=tmp_path / "x.jsonl")


def test_a_file_that_another_process_writes_is_left_to_it(tmp_path, prompts, tiny_model_folder):
    with locked(tmp_path / ".x.jsonl.lock"), pytest.raises(RetainError, match=r"x\.jsonl: process"):
        called(tiny_model_folder, prompts, tmp_path / "x.jsonl")
    assert not list(tmp_path.glob("x.jsonl*"))


CALL = ("generative_replay", ["num_documents=9", "max_new_tokens=8", "temperature=1.0"])


def called(model, prompts, output, more=(), **options):
    method, values = CALL
    return api.rehearse(
        str(model), method, [*values, f"prompts={prompts}", *more], output=output, **options
    )


@pytest.fixture
def stopped(tmp_path, prompts, tiny_model_folder, monkeypatch):
    """A call that was killed after its first portion; what it had begun."""
    monkeypatch.setattr(grow, "PORTION", 4)
    with monkeypatch.context() as patch:
        whole, portions = ModelPen.write, []

        def write(pen, asked, check_stop):
            portions.append(asked)
            if len(portions) == 2:
                raise Interrupted("killed")
            return whole(pen, asked, check_stop)

        patch.setattr(ModelPen, "write", write)
        with pytest.raises(Interrupted):
            called(tiny_model_folder, prompts, tmp_path / "stopped.jsonl")
    [begun] = tmp_path.glob("stopped*")
    return begun


def test_the_same_call_goes_on_after_a_kill(
    tmp_path, prompts, tiny_model_folder, stopped, monkeypatch
):
    called(tiny_model_folder, prompts, tmp_path / "whole.jsonl")
    asked = []
    whole = ModelPen.write
    monkeypatch.setattr(
        ModelPen, "write", lambda pen, some, stop: asked.extend(some) or whole(pen, some, stop)
    )
    called(tiny_model_folder, prompts, tmp_path / "stopped.jsonl")
    assert len(asked) < 9
    assert not stopped.exists()
    assert (tmp_path / "stopped.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("more", "seed"), [(["temperature=0.9"], 0), (["num_documents=8"], 0), ([], 1)]
)
def test_what_was_begun_is_not_thrown_away_by_another_call(
    tmp_path, prompts, tiny_model_folder, stopped, more, seed
):
    before = stopped.read_bytes()
    with pytest.raises(RetainError, match=r"begun: holds what was written so far by another"):
        called(tiny_model_folder, prompts, tmp_path / "stopped.jsonl", more, seed=seed)
    assert stopped.read_bytes() == before


def test_what_gives_an_item_away_is_left_out_and_not_counted(
    tmp_path, prompts, tiny_model_folder, monkeypatch
):
    item = "The cat 3 sat on the mat, and the dog ran."
    module = import_module("retain.api.rehearse")
    monkeypatch.setattr(module, "_scored", lambda tasks: [item] if tasks else [])
    called(tiny_model_folder, prompts, tmp_path / "all.jsonl")
    text = called(tiny_model_folder, prompts, tmp_path / "few.jsonl", tasks=["a_task"])
    lines = (tmp_path / "all.jsonl").read_text("utf-8").splitlines()
    left = [line for line in lines if "the cat 3 sat" not in line]
    assert (tmp_path / "few.jsonl").read_text("utf-8").splitlines() == left
    assert len(left) == 8
    num_tokens = sum(json.loads(line)["num_tokens"] for line in left)
    assert f"few.jsonl: 8 documents, {num_tokens} tokens" in text
    assert "evaluated items: 1" in text


def test_a_prompt_that_is_an_evaluated_item_is_left_out_with_its_answer(
    tmp_path, tiny_model_folder, monkeypatch
):
    def write(pen, asked, check_stop):
        return [Text(f"It is {key}.", 4, finished=True) for key, _ in asked]

    module = import_module("retain.api.rehearse")
    item = "Which planet of the solar system has the most moons of all?"
    monkeypatch.setattr(ModelPen, "write", write)
    monkeypatch.setattr(module, "_scored", lambda tasks: [item])
    asked = tmp_path / "questions.jsonl"
    texts = ["what is the sea?", f"Please tell me: {item.lower()}"]
    asked.write_text("\n".join(json.dumps({"prompt": text}) for text in texts))
    values = [f"prompts={asked}", "num_documents=2"]
    output = tmp_path / "answers.jsonl"
    api.rehearse(str(tiny_model_folder), "generative_replay", values, output=output, tasks=["one"])
    [line] = map(json.loads, output.read_text("utf-8").splitlines())
    assert line["messages"][0]["content"] == "what is the sea?"


def test_a_file_of_lines_is_of_one_kind(tmp_path, tiny_model_folder):
    asked = tmp_path / "both.jsonl"
    asked.write_text('{"prompt": "what is the sea?"}\n{"text": "the cat sat on the mat"}\n')
    with pytest.raises(RetainError, match=r"of 2 prompts 1 are texts .* one call each"):
        called(tiny_model_folder, asked, tmp_path / "x.jsonl")


def test_prompts_need_no_answers(tmp_path, tiny_model_folder, monkeypatch):
    def write(pen, asked, check_stop):
        return [Text(f"It is {key}.", 4, finished=True) for key, _ in asked]

    monkeypatch.setattr(ModelPen, "write", write)
    rows = [{"prompt": f"what is {number} and one?"} for number in range(5)]
    rows.append({"messages": [{"role": "user", "content": "what is the sea?"}]})
    asked = tmp_path / "questions.jsonl"
    asked.write_text("\n".join(map(json.dumps, rows)))
    output = tmp_path / "answers.jsonl"
    values = [f"prompts={asked}", "num_documents=6"]
    api.rehearse(str(tiny_model_folder), "generative_replay", values, output=output)
    lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    questions = [f"what is {number} and one?" for number in range(5)]
    assert sorted(line["messages"][0]["content"] for line in lines) == [
        *questions, "what is the sea?",
    ]  # fmt: skip
    assert all(line["messages"][1]["content"].startswith("It is") for line in lines)
    read = load_source({"source": str(output)}).examples  # as data of a recipe
    assert [one.messages[1]["content"] for one in read] == [
        line["messages"][1]["content"] for line in lines
    ]
