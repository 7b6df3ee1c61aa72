"""A store, a journal and steps small enough to read."""

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


@pytest.fixture
def data_step():
    return Step("data", "medicine", 1, {"phase": "medicine", "fraction": 0.1})


@pytest.fixture
def train_step(data_step):
    return Step("train", "none-medicine", 1, {"learning_rate": 1e-4}, {"mix": data_step})


@pytest.fixture
def finish(store):
    """Finish a step with some files, in folders too."""

    def do(step, files=None):
        with store.begin(step) as work:
            for name, text in (files or {"a.txt": "a" * 50, "model/b.json": "{}"}).items():
                path = work.output / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return store.path(step)

    return do
