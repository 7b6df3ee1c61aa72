"""A server of objects, and stores of several machines in front of it."""

import itertools

import pytest

from retain.remote import Objects, RemoteStore, objects
from retain.steps import Journal, Step
from tests.remote.server import serving

SECRET = "hunter2-secret-key"
_numbers = itertools.count()


def point_at(patch, address, folder):
    """The environment of a machine whose store is the server at this address."""
    patch.setenv("AWS_ENDPOINT_URL", address)
    patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        patch.setenv(name, str(folder / "none"))


@pytest.fixture(scope="session")  # in a worker, tests of other packages may run between
def server():
    with serving() as found:
        yield found


@pytest.fixture
def door(server):
    door, _ = server
    door.seen.clear()
    yield door
    door.fault = lambda method, path: None


@pytest.fixture
def url(server, door, tmp_path, monkeypatch):
    """An empty prefix."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    point_at(monkeypatch, server[1], tmp_path)
    monkeypatch.setattr(objects, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    bucket = f"bucket{next(_numbers)}"
    Objects(f"s3://{bucket}/x")._system.mkdir(bucket)
    return f"s3://{bucket}/runs"


@pytest.fixture
def machine(url, tmp_path):
    """Make the store of a machine, with a journal."""

    def make(name, limit_bytes=float("inf")):
        made = Objects(url)
        made.journal = Journal(tmp_path / name / "journal.jsonl")
        return RemoteStore(tmp_path / name / ".steps", made, limit_bytes)

    return make


@pytest.fixture
def data_step():
    return Step("data", "medicine", 1, {"phase": "medicine"})


def finish(store, step, files=None):
    """Finish a step with some files."""
    with store.begin(step, store.objects.journal) as work:
        for name, content in (files or {"a.txt": b"a" * 50, "model/b": b"b" * 999}).items():
            path = work.output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
