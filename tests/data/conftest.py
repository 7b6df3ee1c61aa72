"""Files of rows, and a stand-in for what a running step is given."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest


def _write_jsonl(path: Path, rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


class FakeWork:
    """The parts of ``retain.steps.work.Work`` that the data steps use."""

    def __init__(self, output: Path, settings, inputs=None, files=None):
        self.step = SimpleNamespace(settings=settings, files=files or {})
        self.output = output
        self.output.mkdir(parents=True)
        self.inputs = inputs or {}
        self.facts = {}
        self.beats = []

    def input(self, role, name=""):
        return self.inputs[role] / name

    def check_stop(self):
        pass

    def progress(self, *beat):
        self.beats.append(beat)

    def note(self, **facts):
        self.facts |= facts

    def json(self, name):
        return json.loads((self.output / name).read_text())

    def rows(self, name):
        return [json.loads(line) for line in (self.output / name).read_text().splitlines()]


@pytest.fixture
def write_jsonl():
    """Writes rows to a path as JSON lines and gives the path."""
    return _write_jsonl


@pytest.fixture
def fake_work():
    """The class of a stand-in for ``Work``."""
    return FakeWork


@pytest.fixture
def with_template(tokenizer):
    """Gives the tiny tokenizer another chat template, or None for none; put back afterwards."""
    before = tokenizer.chat_template

    def give(template):
        tokenizer.chat_template = template
        return tokenizer

    yield give
    tokenizer.chat_template = before
