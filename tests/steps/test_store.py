import errno
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.errors import Interrupted, RecipeError, StoreError
from retain.steps import DamagedStepError, Step, Store, read_journal
from retain.steps.entries import matching
from retain.steps.lock import LockHeldError


def test_a_step_comes_into_being_whole(store, data_step, finish):
    assert not store.finished(data_step)
    folder = finish(data_step)

    assert folder == store.root / data_step.folder
    assert store.finished(data_step)
    assert store.verify(data_step) == []
    assert store.open(data_step, "a.txt").read_text() == "a" * 50
    assert store.open(data_step, "model") == folder / "model"
    assert store.open(data_step) == folder
    assert os.listdir(store.root / ".tmp") == []
    assert not store.partial(data_step).exists()


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=200), min_size=1))
def test_any_bytes_come_back(tmp_path_factory, files):
    store = Store(tmp_path_factory.mktemp("store"))
    step = Step("data", "x", 1, {})
    with store.begin(step) as work:
        for name, content in files.items():
            (work.output / name).write_bytes(content)

    fresh = Store(store.root)
    assert {name: fresh.open(step, name).read_bytes() for name in files} == files


def test_the_record_tells_what_it_was_and_took(store, data_step, train_step, finish):
    finish(data_step)
    with store.begin(train_step) as work:
        assert work.input("mix", "a.txt").read_text() == "a" * 50
        work.note(device="cpu", tokens=7)
    record = store.record(train_step)

    assert record["step"] == json.loads(json.dumps(train_step.describe()))
    assert record["facts"] == {"device": "cpu", "tokens": 7}
    assert record["seconds"] >= 0
    assert record["versions"]["python"]


def test_another_name_for_the_same_work_is_the_same_step(store, data_step, finish):
    finish(data_step)
    twin = Step("data", "otherwise", 1, dict(data_step.settings))

    assert store.finished(twin)
    assert store.path(twin) == store.path(data_step)
    with pytest.raises(StoreError, match="is finished"), store.begin(twin):
        pass


def each_file(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("how", ["truncate", "flip", "delete", "empty"])
def test_any_damage_to_any_file_is_noticed_and_never_read(
    store, data_step, journal, finish, number, how
):
    folder = finish(data_step)
    path = each_file(folder)[number]
    content = bytearray(path.read_bytes())
    if how == "delete":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes({"truncate": content[:-1], "flip": content, "empty": b""}[how])
    fresh = Store(store.root)

    assert any(path.name in fault for fault in fresh.verify(data_step))
    if how != "flip" or path.name == "MANIFEST.json":
        readers = [fresh.open]
    else:
        name = path.relative_to(folder).as_posix()
        readers = [lambda step: fresh.open(step, name)]
    with pytest.raises(DamagedStepError, match=f"{path.name}.*set aside as"):
        readers[0](data_step)
    assert not fresh.finished(data_step)
    assert len(list((store.root / ".damaged" / "data").iterdir())) == 1
    finish(data_step)
    assert fresh.open(data_step, "a.txt").read_text() == "a" * 50


def test_every_flipped_byte_is_found(store, data_step, finish):
    folder = finish(data_step, {"a": "0123456789"})
    for path in each_file(folder):
        good = path.read_bytes()
        for place in range(0, len(good), max(1, len(good) // 40)):
            bad = bytearray(good)
            bad[place] ^= 0x10
            path.write_bytes(bad)
            assert store.verify(data_step), (path.name, place)
        path.write_bytes(good)
    assert store.verify(data_step) == []


def test_a_faulty_folder_in_the_way_is_set_aside_and_journalled(store, data_step, journal, finish):
    folder = finish(data_step)
    (folder / "a.txt").unlink()
    with store.begin(data_step, journal) as work:
        (work.output / "a.txt").write_text("again")

    assert store.verify(data_step) == []
    (event,) = read_journal(journal.path)
    assert event["event"] == "step damaged"
    assert event["faults"] == ["a.txt is missing"]
    assert (store.root / event["set_aside"]).is_dir()


def test_content_is_hashed_once_per_process_and_again_when_it_changed(
    store, data_step, finish, monkeypatch
):
    finish(data_step)
    hashed = []
    fresh = Store(store.root)
    real = fresh_hash()
    monkeypatch.setattr(
        "retain.steps.manifest.sha256_file", lambda path: hashed.append(path) or real(path)
    )
    fresh.open(data_step, "a.txt")
    fresh.open(data_step, "a.txt")
    store.open(data_step, "a.txt")
    assert len(hashed) == 1
    path = store.path(data_step) / "a.txt"
    path.write_text("b" * 50)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DamagedStepError):
        fresh.open(data_step, "a.txt")


def fresh_hash():
    from retain.steps.manifest import sha256_file

    return sha256_file


def test_a_file_the_step_did_not_write_is_refused_but_destroys_nothing(store, data_step, finish):
    folder = finish(data_step)
    (folder / "model" / ".DS_Store").write_text("x")
    assert store.open(data_step, "model") == folder / "model"
    (folder / "model" / "pytorch_model.bin").write_text("x")

    with pytest.raises(StoreError, match=r"model/pytorch_model\.bin, which the step did not"):
        store.open(data_step, "model")
    assert store.verify(data_step) == ["model/pytorch_model.bin is not of the step"]
    assert store.finished(data_step)


def test_asking_for_what_is_not_there(store, data_step, train_step, finish):
    with pytest.raises(DamagedStepError, match="is not in the store"):
        store.open(data_step, "a.txt")
    finish(data_step)
    with pytest.raises(StoreError, match=r"has no '\.\./x'. It has: a\.txt, model/b\.json"):
        store.open(data_step, "../x")
    with store.begin(train_step) as work, pytest.raises(StoreError, match="Inputs: mix"):
        work.input("model")


@pytest.mark.parametrize("error", [ValueError("x"), Interrupted("x"), KeyboardInterrupt()])
def test_an_error_keeps_the_partial_state_and_nothing_else(store, data_step, error):
    def work_and_fail():
        with store.begin(data_step) as work:
            (work.partial / "snapshot").write_text("half")
            (work.output / "a").write_text("x")
            raise error

    with pytest.raises(type(error)):
        work_and_fail()
    assert not store.finished(data_step)
    assert os.listdir(store.root / ".tmp") == []
    with store.begin(data_step) as work:
        assert (work.partial / "snapshot").read_text() == "half"
        assert list(work.output.iterdir()) == []
    assert not store.partial(data_step).exists()


def test_torn_files_in_the_partial_state_are_gone_when_the_step_starts_again(store, data_step):
    torn = store.partial(data_step) / "snapshots" / ".tmp-step-3-abcd"
    torn.mkdir(parents=True)
    (torn / "weights").write_text("x")

    with store.begin(data_step) as work:
        assert list((work.partial / "snapshots").iterdir()) == []


def test_a_full_disk_in_a_step_keeps_what_was_there(store, data_step, train_step, finish):
    finish(data_step)

    def run():
        with store.begin(train_step, needed_bytes=5_000_000) as work:
            (work.output / "half").write_text("x")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match=r"train/none-medicine.*needs about 5\.0 MB"):
        run()
    assert os.listdir(store.root / ".tmp") == []
    assert store.verify(data_step) == []
    with pytest.raises(StoreError, match=r"needs .* on this disk"):
        store.begin(train_step, needed_bytes=10**18).__enter__()


def test_errors_of_the_step_itself_are_left_alone(store, data_step):
    def run():
        with store.begin(data_step):
            raise PermissionError(errno.EACCES, "Permission denied", "/home/me/data.jsonl")

    with pytest.raises(PermissionError):
        run()


def test_a_root_that_cannot_be_written_is_told(tmp_path, data_step):
    (tmp_path / "runs").write_text("a file")
    store = Store(tmp_path / "runs" / ".steps")

    assert not store.finished(data_step)
    assert store.entries() == []
    with pytest.raises(StoreError, match=r"cannot be written.*choose another"):
        store.begin(data_step).__enter__()


def test_two_at_once_are_one_too_many(store, data_step):
    other = Store(store.root)
    with store.begin(data_step):
        with pytest.raises(LockHeldError, match=rf"data/medicine.*process {os.getpid()}"):
            other.begin(data_step).__enter__()
        assert not other.is_free(data_step.key)
    assert other.is_free(data_step.key)


def test_entries_tell_size_cost_and_faults(store, data_step, train_step, finish):
    finish(data_step)
    folder = finish(train_step)
    (folder / "a.txt").write_text("x")
    (store.root / "data" / "strange").mkdir()
    good, strange, bad = store.entries()

    assert (good.kind, good.folder, good.faults) == ("data", data_step.folder, ())
    assert good.bytes == sum(path.stat().st_size for path in each_file(store.path(data_step)))
    assert good.fingerprint == data_step.fingerprint
    assert good.seconds == store.record(data_step)["seconds"]
    assert strange.faults == ("MANIFEST.json is missing or damaged",)
    assert bad.faults == ("a.txt has 1 bytes instead of 50",)
    assert matching(store.entries(), train_step.fingerprint[:6]) == [bad]
    assert matching(store.entries(), "medicine") == [good]
    assert matching(store.entries(), data_step.folder + "/") == [good]


def test_removing_a_step(store, data_step, finish):
    folder = finish(data_step)
    size = sum(path.stat().st_size for path in each_file(folder))
    with Store(store.root).lock(data_step), pytest.raises(LockHeldError):
        store.remove(data_step.folder)

    assert store.remove(data_step.folder) == size
    assert not folder.exists()
    assert os.listdir(store.root / ".tmp") == []


@pytest.mark.parametrize(
    "folder", ["..", "data/..", "data/../..", ".tmp/x", "/etc", "data", "no/x"]
)
def test_nothing_outside_the_store_is_removed_or_verified(store, data_step, finish, folder):
    finish(data_step)
    for act in (store.remove, store.verify):
        with pytest.raises(StoreError, match="no step of"):
            act(folder)
    assert store.finished(data_step)


def test_notes_must_be_json(store, data_step):
    with store.begin(data_step) as work, pytest.raises(RecipeError, match=r"note\.loss"):
        work.note(loss=float("nan"))


def test_stop_progress_and_events_reach_the_step(store, data_step, journal):
    moves = []
    with store.begin(
        data_step, journal, progress=lambda *move: moves.append(move), stop=lambda: True
    ) as work:
        work.progress(1, 2, "loss 3", "steps")
        work.event("train", loss=3.0)
        with pytest.raises(Interrupted):
            work.check_stop()

    assert moves == [(1, 2, "loss 3", "steps")]
    assert read_journal(journal.path)[0]["step"] == data_step.folder


def test_what_two_find_damaged_at_once_is_set_aside_once(store, data_step, finish, monkeypatch):
    finish(data_step)
    (store.path(data_step) / "a.txt").write_text("?")
    other, faults = Store(store.root), Store._damaged

    def both(self, step, found):
        if self is store:
            monkeypatch.setattr(Store, "_damaged", faults)
            with pytest.raises(DamagedStepError, match="was set aside as"):
                other.open(step)
        return faults(self, step, found)

    monkeypatch.setattr(Store, "_damaged", both)
    with pytest.raises(DamagedStepError, match="Another process set it aside"):
        store.open(data_step)
