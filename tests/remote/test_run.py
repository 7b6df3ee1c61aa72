"""A recipe run on an object store: the same results, for every machine that sees it."""

import json
import re
import shlex
from pathlib import Path

import pytest

from retain import api
from retain.api.place import RemotePlace, cache_limit, place_and_folder, place_of
from retain.cli import main
from retain.errors import RetainError, StoreError
from retain.remote import Objects, objects
from retain.steps import read_journal
from tests.remote.conftest import SECRET, point_at

SCALE = Path(__file__).resolve().parent.parent.parent / "docs" / "scale.md"
ADDRESS = "s3://my-bucket/retain"
TABLES = ("scores.csv", "measures.csv")


def recipe(model, folder):
    for name in ("old", "new"):
        rows = [{"text": f"{name} {number} and five words more"} for number in range(60)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = {"learning_rate": 1e-3, "max_steps": 2, "batch_size": 4, "precision": "fp32"}
    train |= {"objective": "pretrain", "max_length": 64}
    phases = [
        {"name": name, "data": str(folder / f"{name}.jsonl"), "train": train}
        for name in ("old", "new")
    ]
    return {
        "name": "toy",
        "model": str(model),
        "phases": phases,
        "evaluate": {"tasks": ["phases"], "limit": 10},
        "arms": {"none": [], "lora": {"train": {"tuning": "lora", "lora_r": 2}}},
    }


class Made:
    """A run on a folder, and the same one on a store by the command of the documentation."""

    def __init__(self, root, model, patch):
        self.root, self._patch = root, patch
        self.values = recipe(model, root)
        (root / "toy.yaml").write_text(json.dumps(self.values))
        self.be("one")
        api.run(self.values, runs=root / "local")
        [line] = re.findall(r"^    (retain run .*--runs s3://.*)$", SCALE.read_text("utf-8"), re.M)
        self.command = shlex.split(line)[1:]
        assert self.command[-1] == ADDRESS
        self.command[self.command.index("quickstart")] = str(root / "toy.yaml")
        main_ends_well(self.command)

    def be(self, machine):
        """Go on as a machine with a folder of its own."""
        self._patch.setenv("RETAIN_CACHE", str(self.root / machine))
        return RemotePlace(ADDRESS)


def main_ends_well(words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0


@pytest.fixture(scope="module")
def made(server, tmp_path_factory, tiny_model_folder):
    door, address = server
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("store")
        point_at(patch, address, root)
        patch.setattr(objects, "PAUSE_SECONDS", 0.001)
        Objects(ADDRESS)._system.mkdir("my-bucket")
        yield Made(root, tiny_model_folder, patch)
        door.fault = lambda method, path: None


def test_the_tables_are_those_of_a_folder(made):
    store = Objects(ADDRESS)
    here = made.be("one").folder / "toy"
    for name in TABLES:
        content = (made.root / "local" / "toy" / name).read_bytes()
        assert (here / name).read_bytes() == content
        assert store.get(f"toy/{name}") == content
    names = set(store.sizes("toy"))
    assert {"report.html", "journal.jsonl", "recipe.resolved.yaml"} <= names
    assert not any(name.startswith(("models/none-seed0-new/", ".lock")) for name in names)


def test_another_machine_does_nothing_and_fetches_no_model(made):
    place = made.be("two")
    plan = api.plan(made.values, runs=ADDRESS)
    assert all(line.is_cached for line in plan.lines)
    outcome = api.run(made.values, runs=ADDRESS)
    assert outcome.num_done == 0
    for name in TABLES:
        content = (made.root / "local" / "toy" / name).read_bytes()
        assert (outcome.folder / name).read_bytes() == content
    fetched = [path for path in place.folder.rglob("*") if path.name == "model.safetensors"]
    assert fetched == []
    journal = read_journal(outcome.folder / "journal.jsonl")
    assert sum(event["event"] == "step finished" for event in journal) == outcome.num_reused


@pytest.mark.slow
def test_only_what_is_new_is_done(made):
    made.be("three")
    arms = made.values["arms"] | {"more": [{"method": "experience_replay", "share": 0.2}]}
    values = made.values | {"name": "more", "arms": arms}
    outcome = api.run(values, runs=ADDRESS)
    assert 0 < outcome.num_done < outcome.num_reused
    assert made.be("four").store.entries()
    assert api.run(values, runs=ADDRESS).num_done == 0
    text = api.compare("more", "toy", runs=ADDRESS)
    assert "lora" in text


def test_every_verb_works_or_is_refused(made, capsys):
    made.be("five")
    assert api.report(f"{ADDRESS}/toy").read_text("utf-8").startswith("<!doctype html>")
    assert api.list_steps(ADDRESS) == []
    assert "train" in capsys.readouterr().out
    assert "nearest finished step: train/" in api.explain("train/", ADDRESS)
    text = api.export("toy", "lora", made.root / "exported", runs=ADDRESS)
    assert "exported" in text
    assert (made.root / "exported" / "adapter_config.json").is_file()
    with pytest.raises(StoreError, match="frees folders only"):
        api.clean(ADDRESS)
    with pytest.raises(RetainError, match="--on ray: its nodes hand steps on by a shared disk"):
        api.run(made.values, runs=ADDRESS, on="ray")
    with pytest.raises(StoreError, match="holds no"):
        api.report(f"{ADDRESS}/nothing")
    with pytest.raises(StoreError, match="toy"):
        api.export("toi", "lora", made.root / "other", runs=ADDRESS)


def test_a_store_that_fails_meanwhile_costs_nothing(made, server):
    door, _ = server
    made.be("six")
    values = made.values | {"name": "lonely"}
    values["arms"] = {"lonely": {"train": {"tuning": "lora", "lora_r": 3}}}
    door.fault = lambda method, path: "500" if method == "PUT" and "/.steps/" in path else None
    with pytest.raises(StoreError, match="the same command sends it"):
        api.run(values, runs=ADDRESS)
    door.fault = lambda method, path: None
    assert api.run(values, runs=ADDRESS).num_done == 0
    made.be("seven")
    assert api.run(values, runs=ADDRESS).num_done == 0


@pytest.mark.slow
def test_several_workers_share_a_store(made):
    made.be("eight")
    arms = {f"r{rank}": {"train": {"tuning": "lora", "lora_r": rank}} for rank in (4, 5)}
    values = made.values | {"name": "many", "arms": arms}
    assert api.run(values, runs=ADDRESS, jobs=2).num_done > 0
    made.be("nine")
    assert api.run(values, runs=ADDRESS).num_done == 0


def test_no_credentials_are_said_and_none_is_printed(made, capsys, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setitem(objects.OPTIONS, "s3", {"skip_instance_cache": True})
    with pytest.raises(SystemExit) as stop:
        main([*made.command[:-1], ADDRESS])
    told = capsys.readouterr().err
    assert stop.value.code == 1
    assert "Set the store's credentials in the environment" in told
    assert SECRET not in told


def test_the_limit_of_what_is_kept(monkeypatch):
    assert cache_limit() == 100e9
    monkeypatch.setenv("RETAIN_CACHE_LIMIT", "1.5 TB")
    assert cache_limit() == 1.5e12
    monkeypatch.setenv("RETAIN_CACHE_LIMIT", "much")
    with pytest.raises(RetainError, match="RETAIN_CACHE_LIMIT: got 'much'; give a size, as 200GB"):
        cache_limit()


def test_an_address_is_text():
    with pytest.raises(StoreError, match="s3:/my-bucket/retain: give an address as text"):
        place_of(Path(ADDRESS))


def test_a_folder_stays_a_folder(tmp_path):
    place, folder = place_and_folder(tmp_path / "runs" / "toy")
    assert (place.folder, folder) == (tmp_path / "runs", tmp_path / "runs" / "toy")
    assert not place.is_remote
