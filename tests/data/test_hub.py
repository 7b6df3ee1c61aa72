from importlib import import_module
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from retain.data.sources import identity, load
from retain.errors import DataError

COMMIT = "c0ffee" * 6 + "abcd"


class Hub:
    """A hub with one data set, or with an error."""

    def __init__(self, error=None):
        self.error = error
        self.asked = []

    def dataset_info(self, repository, timeout):
        self.asked.append(repository)
        if self.error:
            raise self.error
        return SimpleNamespace(sha=COMMIT)


@pytest.fixture
def online(monkeypatch):
    calls = []

    def load_dataset(repository, config, **options):
        calls.append((repository, config, options))
        return {"train": [{"text": "one"}, {"text": "two"}], "test": [{"text": "three"}]}

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_offline_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"cannot be reached.*hf download someone/set --repo-type"):
        load("someone/set")
    with pytest.raises(DataError, match="cannot be reached"):
        identity("hub:squad")


def test_a_lost_connection_is_offline_too(monkeypatch, tmp_path):
    """What the hub's HTTP library raises then is no OSError in every version."""
    [library] = {kind.__module__ for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"}
    lost = import_module(library).ConnectError("connection refused")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(lost))
    with pytest.raises(DataError, match="cannot be reached"):
        load("someone/set")


def test_offline_with_a_cached_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    reference = tmp_path / "datasets--someone--set" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text(COMMIT)
    [(label, digest)] = identity("someone/set").items()
    assert label == "someone/set"
    assert len(digest) == 64


def test_not_on_the_hub(monkeypatch):
    response = SimpleNamespace(headers={}, request=None, status_code=404)
    error = RepositoryNotFoundError("404", response=response)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(error))
    with pytest.raises(DataError, match="no such data set on the hub"):
        load("someone/set")


def test_online_the_commit_is_pinned_and_no_code_is_run(online):
    loaded = load("someone/set:english")
    assert [example.text for example in loaded.examples] == ["one", "two"]
    assert loaded.splits == {"train": 2, "test": 1}
    assert online == [("someone/set", "english", {"revision": COMMIT})]
    assert "trust_remote_code" not in online[0][2]


def test_the_identity_follows_the_commit(online):
    assert identity("someone/set") == identity("someone/set")
    assert identity("someone/set") != identity("someone/set:english")


def test_a_set_that_does_not_load(online, monkeypatch):
    def load_dataset(*_, **__):
        raise RuntimeError("Dataset scripts are no longer supported")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match="scripts are no longer supported"):
        load("someone/set")
