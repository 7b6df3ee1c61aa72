"""The step: its files, and the same corpus after a kill at any moment."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from retain.decode import vllm_engine
from retain.decode.writer import Writer
from retain.errors import Interrupted
from retain.model import cache
from retain.rehearse import grow
from retain.rehearse.step import LOG, Shown, run
from retain.steps.step import Step
from retain.steps.store import DamagedStepError, Store
from tests.rehearse.growing import NO_FILTERS, Twigs

DRIVER = Path(__file__).with_name("kill_driver.py")
SETTINGS = {"methods": [], "seed": 0, "precision": "fp32"}
STEP = Step("rehearse", "twigs", 1, SETTINGS, files={"model": "a" * 64})
CORPUS = Twigs(name="twigs", num_documents=8, branching=(4,), filters=NO_FILTERS)


@pytest.fixture(autouse=True)
def _no_model_kept():
    yield
    cache.clear()


def write(root, model, corpus=CORPUS, **options):
    with Store(root).begin(STEP, **options) as work:
        run(work, model_folder=model, corpus=corpus)
    return Store(root).open(STEP, "corpus.jsonl").read_text("utf-8")


def test_every_line_says_where_it_comes_from(tmp_path, tiny_model_folder):
    lines = [json.loads(line) for line in write(tmp_path, tiny_model_folder).splitlines()]
    assert len(lines) == 8
    for line in lines:
        assert line["model"] == "a" * 64
        assert (line["seed"], line["depth"], line["temperature"]) == (0, 1, 1.0)
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"]
    facts = json.loads(Store(tmp_path).open(STEP, "facts.json").read_text())
    assert facts["num_documents"] == 8
    assert facts["num_tokens"] == sum(line["num_tokens"] for line in lines)
    assert facts["diversity"]["num_texts"] == 8


def test_the_portions_do_not_show_in_the_corpus(tmp_path, tiny_model_folder, monkeypatch):
    whole = write(tmp_path / "a", tiny_model_folder)
    monkeypatch.setattr(grow, "PORTION", 3)
    assert write(tmp_path / "b", tiny_model_folder) == whole


def test_the_engine_of_the_settings_writes_and_is_recorded(
    tmp_path, tiny_model_folder, monkeypatch
):
    step = replace(STEP, settings={**SETTINGS, "engine": "vllm"})
    whole = write(tmp_path / "a", tiny_model_folder)
    monkeypatch.setattr(vllm_engine, "check_engine", lambda: None)
    opened = []

    @contextmanager
    def stands_in(loaded, length):
        writer = Writer(loaded.model, loaded.tokenizer, length, loaded.autocast)
        writer.say("written by a stand-in")
        opened.append(writer)
        yield writer

    monkeypatch.setattr(vllm_engine, "vllm_writer", stands_in)
    with Store(tmp_path / "b").begin(step) as work:
        run(work, model_folder=tiny_model_folder, corpus=CORPUS)
    assert len(opened) == 1
    assert Store(tmp_path / "b").open(step, "corpus.jsonl").read_text("utf-8") == whole
    facts = json.loads(Store(tmp_path / "b").open(step, "facts.json").read_text())
    assert "written by a stand-in" in facts["notes"]
    recorded = [Store(tmp_path / name).record(one) for name, one in (("a", STEP), ("b", step))]
    assert [one["facts"]["engine"] for one in recorded] == ["retain", "vllm"]


def test_a_signal_stops_it_and_it_goes_on(tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.setattr(grow, "PORTION", 2)
    whole = write(tmp_path / "a", tiny_model_folder)
    seen = []

    def watch(done, total, text, unit):
        seen.append(done)

    with pytest.raises(Interrupted):
        write(tmp_path / "b", tiny_model_folder, stop=lambda: bool(seen), progress=watch)
    log = Store(tmp_path / "b").partial(STEP) / LOG
    log.write_bytes(log.read_bytes() + b'{"seconds": 1000.0}\n')
    assert write(tmp_path / "b", tiny_model_folder) == whole
    assert 1000 < Store(tmp_path / "b").record(STEP)["facts"]["seconds"] < 1100


def test_the_bar_moves_within_a_portion_and_never_turns_back():
    seen = []
    corpus = Twigs(name="twigs", num_tokens=100, branching=(4,))
    shown = Shown(lambda *state: seen.append(state), corpus)
    shown.written(0, 30)
    shown.grown(15, 100, "tree 1", "tokens")  # half of it was removed
    shown.written(1, 10)
    shown.written(1, 50)
    shown.written(2, 300)
    assert seen == [
        (30, 100, "", "tokens"),
        (30, 100, "tree 1", "tokens"),
        (30, 100, "tree 1", "tokens"),
        (40, 100, "tree 1", "tokens"),
        (100, 100, "tree 1", "tokens"),
    ]
    by_line = Shown(lambda *state: seen.append(state), CORPUS)
    by_line.written(3, 500)
    assert seen[-1] == (3, 8, "", "documents")


def test_a_corpus_that_was_changed_afterwards_is_not_read(tmp_path, tiny_model_folder):
    text = write(tmp_path, tiny_model_folder)
    path = Store(tmp_path).path(STEP) / "corpus.jsonl"
    path.chmod(0o644)
    path.write_text(text.replace('"seed": 0', '"seed": 9'), "utf-8")
    with pytest.raises(DamagedStepError, match=r"corpus\.jsonl"):
        Store(tmp_path).open(STEP, "corpus.jsonl")
    assert write(tmp_path, tiny_model_folder) == text


@pytest.mark.slow
def test_kills_at_random_times_leave_the_corpus_as_it_would_be(tmp_path, tiny_model_folder):
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, DRIVER, tiny_model_folder, tmp_path, "20"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["faults"] == []
    assert report["lines"] == 24
    assert report["in_between"] >= 5
