"""A store, a journal, a listener that remembers, and steps that do almost nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retain.steps import Journal, Step, Store


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch):
    """A killed process loses nothing that it wrote; only a power cut needs the real fsync."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs" / ".steps")


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "runs" / "med" / "journal.jsonl")


class Heard:
    """A listener that keeps what it was told."""

    def __init__(self):
        self.told = []

    def start(self, step, position, total):
        self.told.append(("start", step.name, position, total))

    def progress(self, step, done, total, text, unit):
        self.told.append(("progress", step.name, done, total, text, unit))

    def done(self, step, outcome, seconds):
        self.told.append((outcome, step.name))

    def message(self, text):
        self.told.append(("message", text))


@pytest.fixture
def heard():
    return Heard()


def chain(*names):
    """Steps that each read the one before."""
    steps = []
    for name in names:
        inputs = {"before": steps[-1]} if steps else {}
        steps.append(Step("toy", name, 1, {"name": name}, inputs))
    return steps


def write_name(work):
    """The result of a toy step: what it read, and its name."""
    before = work.input("before", "text").read_text() if work.step.inputs else ""
    work.progress(1, 1, "all", "names")
    (work.output / "text").write_text(before + work.step.name)


ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def start(tmp_path):
    """Start the program whose steps are done by two workers."""
    running = []

    def do(*kinds, place="here"):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        words = [sys.executable, "-m", "tests.execute.many_script", tmp_path, place, *kinds]
        process = subprocess.Popen(words, env=environment, cwd=ROOT, stderr=subprocess.PIPE)
        running.append(process)
        return process

    yield do
    for process in running:
        process.kill()
        process.communicate()
