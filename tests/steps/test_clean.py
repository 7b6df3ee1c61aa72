import os

import pytest

from retain.errors import StoreError
from retain.steps import Step, Store
from retain.steps.clean import clean, sweep
from retain.steps.lock import LockHeldError
from retain.steps.references import read_references, write_references

OLD = Step("data", "old", 1, {"n": 0})


@pytest.fixture
def runs(store, data_step, train_step, finish):
    """Run med refers to both steps, law to the data; nobody to the old one."""
    for step in (data_step, train_step, OLD):
        finish(step)
    root = store.root.parent
    write_references(root / "med", [data_step, train_step])
    write_references(root / "law", [data_step])
    return root


def tree(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }


def test_who_refers_to_what(runs, data_step, train_step):
    assert read_references(runs) == {
        data_step.fingerprint: {"med", "law"},
        train_step.fingerprint: {"med"},
    }


def test_a_dry_run_says_the_same_and_touches_nothing(runs, store):
    before = tree(runs)
    said = clean(store, runs, dry_run=True)
    assert tree(runs) == before
    done = clean(store, runs)

    assert done == said
    assert [entry.folder for entry in done.entries] == [OLD.folder]
    assert done.freed_bytes == sum(len(data) for data in before.values()) - sum(
        len(data) for data in tree(runs).values()
    )
    assert done.recompute_seconds == done.entries[0].seconds
    assert clean(store, runs).entries == ()
    assert not list((store.root / ".locks").glob("*-*"))


def test_what_a_run_needs_stays(runs, store, data_step, train_step):
    clean(store, runs)
    assert store.verify(data_step) == store.verify(train_step) == []


def test_giving_a_run_up_frees_what_only_it_needs(runs, store, data_step, train_step):
    done = clean(store, runs, "med")

    assert {entry.folder for entry in done.entries} == {OLD.folder, train_step.folder}
    assert store.finished(data_step)
    assert (runs / "med").is_dir()
    assert set(read_references(runs)) == {data_step.fingerprint}


def test_an_unknown_run_is_named(runs, store):
    with pytest.raises(StoreError, match=r"unknown run 'mde'. Did you mean 'med'\?"):
        clean(store, runs, "mde")


def test_snapshots_of_planned_steps_stay_and_others_go(runs, store):
    planned = Step("train", "next", 1, {})
    dropped = Step("train", "dropped", 1, {"x": 1})
    for step in (planned, dropped):
        store.partial(step).mkdir(parents=True)
        (store.partial(step) / "a").write_text("snapshot")
    write_references(runs / "next", [planned])
    done = clean(store, runs)

    assert done.leftovers == (store.partial(dropped).relative_to(store.root).as_posix(),)
    assert store.partial(planned).exists()
    assert not store.partial(dropped).exists()


def test_damaged_steps_go(runs, store, data_step):
    aside = store.set_aside(store.path(data_step))
    done = clean(store, runs)

    assert done.leftovers == (aside.relative_to(store.root).as_posix(),)
    assert not aside.exists()


def test_nothing_is_cleaned_under_a_run(runs, store):
    with Store(store.root).in_use(), pytest.raises(LockHeldError, match="in use by a run"):
        clean(store, runs)
    with store.for_myself(), pytest.raises(LockHeldError, match="being cleaned"):
        Store(store.root).in_use().__enter__()
    assert store.finished(OLD)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"steps": [1]}'])
def test_a_list_that_cannot_be_read_stops_the_cleaning(runs, store, content):
    (runs / "law" / "steps.json").write_text(content)

    with pytest.raises(StoreError, match=r"law/steps\.json: cannot be read.*refers to"):
        clean(store, runs)
    assert store.finished(OLD)


def test_sweeping_takes_what_the_dead_left_and_nothing_else(store, data_step, train_step, finish):
    finish(train_step)
    for folder in (
        store.root / ".tmp" / f"{data_step.key}.0123",
        store.root / ".tmp" / "trash.0123",
        store.partial(train_step),
        store.partial(OLD),
    ):
        folder.mkdir(parents=True)
        (folder / "a").write_text("x")
    with Store(store.root).lock(data_step):
        assert len(sweep(store)) == 2
    assert os.listdir(store.root / ".tmp") == [f"{data_step.key}.0123"]
    assert sweep(store) == [f".tmp/{data_step.key}.0123"]
    assert sweep(store) == []
    assert store.partial(OLD).exists()
