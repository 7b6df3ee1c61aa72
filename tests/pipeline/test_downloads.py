"""What a recipe needs from packages is fetched once, and its licence is shown."""

from contextlib import contextmanager

import pytest

from retain.pipeline import downloads
from retain.pipeline.resolve import Resolved
from retain.recipe import expand, load_recipe


@pytest.fixture
def resolved():
    recipe = load_recipe("quickstart")
    model = {(recipe.model, None): {"sha256": "0" * 64}}
    tasks = {"embedded_piqa": {"data": "embedded:piqa#9"}, "phase:hindi": {}}
    files = {"embedded:hindi-prose#80": {}, "mine.jsonl": {}}
    return Resolved(recipe, expand(recipe), model, tasks, {"auto": "fp32"}, {}, files)


def test_every_embedded_thing_is_named_once(resolved):
    names = [entry.name for entry in downloads.embedded_entries(resolved)]
    assert names == ["hindi-prose", "piqa", "smollm2-135m-instruct"]


def test_licences_are_shown_for_what_is_fetched(resolved, tmp_path, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", str(tmp_path))
    fetched, titles, said = [], [], []
    monkeypatch.setattr(downloads, "fetch_all", lambda entry, progress: fetched.append(entry.name))
    monkeypatch.setattr("retain.model.embedded.materialise", lambda name, progress: tmp_path)

    @contextmanager
    def bar(title):
        titles.append(title)
        yield lambda *state: None

    downloads.fetch_embedded(resolved, bar, said.append)
    assert fetched == titles == ["hindi-prose", "piqa", "smollm2-135m-instruct"]
    assert [text.split(":")[0] for text in said] == titles
    assert all("Licence: " in text for text in said)
