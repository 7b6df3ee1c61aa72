"""Machines that share a store: each step once, whole, and as it was made."""

import json
import random
from pathlib import Path

import pytest

from retain.errors import StoreError
from retain.execute import carry_out
from retain.remote import shelf
from retain.steps import DamagedStepError, Journal, Step, read_journal
from retain.steps.entries import folder_bytes
from tests.execute.conftest import chain, write_name
from tests.remote.conftest import finish
from tests.remote.server import REFUSALS


def events(store, kind):
    return [e for e in read_journal(store.objects.journal.path) if e["event"] == kind]


def bytes_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_another_machine_finds_a_step_finished(machine, data_step):
    one, two = machine("one"), machine("two")
    finish(one, data_step)
    assert two.finished(data_step)
    assert two.record(data_step) == one.record(data_step)
    assert not two.path(data_step).exists()

    assert two.open(data_step, "model") == two.root / data_step.folder / "model"
    assert bytes_of(two.path(data_step)) == bytes_of(one.path(data_step))
    assert two.verify(data_step) == []
    with pytest.raises(StoreError, match="is finished"), two.begin(data_step):
        pass


def test_a_single_file_comes_by_itself(machine, data_step):
    one, two = machine("one"), machine("two")
    finish(one, data_step)
    assert two.holds(data_step, "a.txt")
    assert not two.holds(data_step, "b.txt")
    path = two.open(data_step, "a.txt")
    assert path.read_bytes() == b"a" * 50
    assert not two.path(data_step).exists()
    path.write_bytes(b"a" * 49 + b"b")
    assert machine("two").open(data_step, "a.txt").read_bytes() == b"a" * 50
    with pytest.raises(StoreError, match="has no 'nothing'"):
        two.open(data_step, "nothing")


def test_a_step_keeps_the_name_it_was_made_under(machine, data_step):
    finish(machine("one"), data_step)
    twin = Step("data", "otherwise", 1, dict(data_step.settings))
    two = machine("two")
    assert two.finished(twin)
    assert two.path(twin) == two.open(twin) == two.root / data_step.folder


def test_the_base_of_an_adapter_comes_along(machine):
    one, two = machine("one"), machine("two")
    base = Step("train", "base", 1, {"n": 0})
    adapter = Step("train", "adapter", 1, {"n": 1}, {"model": base})
    finish(one, base, {"model/weights": b"w"})
    memo = json.dumps({"relative": f"../../{base.folder.partition('/')[2]}/model"}).encode()
    finish(one, adapter, {"model/retain_base.json": memo})
    folder = two.open(adapter, "model")
    assert (folder / json.loads(memo)["relative"] / "weights").read_bytes() == b"w"


def test_large_files_go_in_parts_and_what_was_sent_is_not_sent_again(
    machine, data_step, door, monkeypatch
):
    monkeypatch.setattr(shelf, "PART_BYTES", 1000)
    one, two = machine("one"), machine("two")
    large = random.Random(0).randbytes(9500)
    puts = []

    def fail_late(method, path):
        if method == "PUT" and "/runs/.steps/" in path:
            puts.append(path)
        return "500" if method == "PUT" and path.endswith(".7") else None

    door.fault = fail_late
    finish(one, data_step, {"large": large})
    [event] = events(one, "step not sent")
    assert "tried" in event["reason"]
    assert not two.finished(data_step)

    sent, puts[:] = {path for path in puts if not path.endswith(".7")}, []
    door.fault = lambda method, path: puts.append(path) if method == "PUT" else None
    assert machine("one").send_all([data_step]) == 1
    assert not sent.intersection(puts)
    assert any(path.endswith(".7") for path in puts)
    assert machine("two").open(data_step, "large").read_bytes() == large


@pytest.mark.parametrize("how", ["truncate", "flip", "delete", "manifest"])
def test_an_altered_object_is_never_read_and_made_again(machine, data_step, how):
    one, two = machine("one"), machine("two")
    finish(one, data_step)
    names = one.objects.sizes(f".steps/{data_step.key}")
    part = max(names, key=names.get)
    name = f".steps/{data_step.key}/{part}"
    content = one.objects.get(name)
    if how == "delete":
        one.objects.remove([name])
    elif how == "manifest":
        one.objects.put(f".steps/.finished/{data_step.key}.json", b'{"format": 1')
    else:
        other = content[:-1] if how == "truncate" else b"c" + content[1:]
        one.objects.put(name, other)

    with pytest.raises(DamagedStepError):
        two.open(data_step, "model")
    assert not two.finished(data_step)
    assert not two.path(data_step).exists()
    finish(two, data_step)
    assert bytes_of(machine("three").open(data_step))["model/b"] == b"b" * 999


def test_the_executor_makes_an_altered_step_again(machine):
    one, two = machine("one"), machine("two")
    steps = chain("a", "b")
    carry_out(steps[:1], one, run=write_name, journal=one.objects.journal)
    [part] = one.objects.sizes(f".steps/{steps[0].key}")
    one.objects.put(f".steps/{steps[0].key}/{part}", b"?")
    done = carry_out(steps, two, run=write_name, journal=two.objects.journal).done
    assert set(done) == set(steps)
    assert two.open(steps[1], "text").read_text() == "ab"
    [event] = events(two, "step damaged")
    assert "taken out" in event["message"]
    assert machine("three").open(steps[0], "text").read_text() == "a"


def test_what_is_altered_here_is_fetched(machine, data_step):
    one = machine("one")
    finish(one, data_step)
    (one.path(data_step) / "a.txt").write_bytes(b"x" * 50)
    assert machine("one").open(data_step, "a.txt").read_bytes() == b"a" * 50


def test_the_result_that_was_first_stands(machine, data_step):
    one, two = machine("one"), machine("two")
    assert not two.finished(data_step)
    with two.begin(data_step, two.objects.journal) as work:
        finish(one, data_step, {"a": b"first"})
        (work.output / "a").write_bytes(b"second")
    assert [event["step"] for event in events(two, "step was there")] == [data_step.folder]
    for store in (two, machine("two"), machine("three")):
        assert store.open(data_step, "a").read_bytes() == b"first"


def test_what_another_machine_finished_meanwhile_is_not_done(machine, data_step):
    one, two = machine("one"), machine("two")
    assert not two.finished(data_step)
    finish(one, data_step)
    with two.lock(data_step):
        assert two.finished(data_step)


@pytest.mark.parametrize("fault", ["500", "denied", "full"])
def test_a_store_that_refuses_loses_nothing(machine, data_step, door, fault):
    one = machine("one")
    one.finished(data_step)
    door.fault = lambda method, path: fault
    finish(one, data_step)
    assert one.open(data_step, "a.txt").read_bytes() == b"a" * 50
    assert len(events(one, "step not sent")) == 1
    with pytest.raises(StoreError, match=REFUSALS[fault][1] + "|" + REFUSALS[fault][2]):
        machine("one").send_all([data_step])
    door.fault = lambda method, path: None
    assert machine("one").send_all([data_step]) == 1
    assert machine("two").finished(data_step)


def test_a_machine_keeps_no_more_than_its_limit(machine):
    one = machine("one", limit_bytes=25_000)
    steps = [Step("data", f"d{n}", 1, {"n": n}) for n in range(4)]
    reader = Step("mix", "m", 1, {}, {"in": steps[0]})
    for step in steps:
        finish(one, step, {"a": str(step.settings["n"]).encode() * 10_000})
    here = [step.name for step in steps if (one.root / step.folder).exists()]
    assert here[-1] == "d3"
    assert len(here) < 4
    assert folder_bytes(one.root) < 40_000
    for step in steps:
        assert one.open(step, "a").read_bytes() == str(step.settings["n"]).encode() * 10_000
    with one.begin(reader, one.objects.journal) as work:  # what a step reads stays
        path = one.open(steps[0])
        one.limit_bytes = 0
        one.evict()
        assert path.exists()
        (work.output / "b").write_bytes(b"")
    one.evict()
    assert not path.exists()


def test_nothing_is_removed_that_is_not_in_the_store(machine, data_step, door):
    one = machine("one", limit_bytes=0)
    one.finished(data_step)
    door.fault = lambda method, path: "500" if method == "PUT" else None
    finish(one, data_step)
    one.evict()
    assert one.open(data_step, "a.txt").read_bytes() == b"a" * 50


def test_while_a_report_reads_nothing_is_removed(machine, data_step):
    one, same = machine("one"), machine("one", limit_bytes=0)
    finish(one, data_step)
    same.finished(data_step)
    with one.reading():
        same.evict()
        assert one.path(data_step).exists()
    same.evict()
    assert not one.path(data_step).exists()


def test_entries_are_those_of_every_machine(machine, data_step):
    one, two = machine("one"), machine("two")
    finish(one, data_step)
    here = Step("data", "here", 1, {})
    finish(two, here)
    listed = machine("two").entries()
    assert [entry.folder for entry in listed] == sorted([data_step.folder, here.folder])
    assert listed[1].fingerprint == data_step.fingerprint
    assert machine("two").verify(data_step.folder) == []


def test_hostile_names_in_a_store_lead_nowhere(machine, data_step):
    one = machine("one")
    finish(one, data_step)
    last = f".steps/.finished/{data_step.key}.json"
    written = json.loads(one.objects.get(last))
    for folder in (f"../{data_step.folder}", f"data/../{data_step.folder}", "data", 7, None):
        one.objects.put(last, json.dumps(written | {"folder": folder}).encode())
        with pytest.raises(DamagedStepError):
            machine("two").open(data_step)
    one.objects.put(last, json.dumps(written | {"record": "{}"}).encode())
    assert machine("two").entries() == []


def injected(machine, door, seed, num_faults):
    """Two machines carry out chains through faults at random; how many were met."""
    draw = random.Random(seed)
    kinds = ["500", "throttled", "cut", "cut before", "slow"]
    met = []

    def fault(method, path):
        if draw.random() < 0.3:
            met.append(draw.choice(kinds))
            return met[-1]
        return None

    number = 0
    while len(met) < num_faults:
        number += 1
        steps = chain(*(f"r{seed}x{number}{letter}" for letter in "abc"))
        expected = "".join(step.name for step in steps)
        door.fault = fault
        for name in ("one", "two"):
            store = machine(f"{name}{seed}")
            try:
                carry_out(steps, store, run=write_name, journal=store.objects.journal)
                found = store.open(steps[-1], "text").read_text()
            except StoreError:  # six faults in a row
                continue
            assert found == expected
        door.fault = lambda method, path: None
        for name in ("one", "two", "third"):
            store = machine(f"{name}{seed}")
            store.send_all(steps)
            carry_out(steps, store, run=write_name, journal=store.objects.journal)
            for length, step in enumerate(steps, 1):
                assert store.open(step, "text").read_text() == "".join(
                    one.name for one in steps[:length]
                )
                whole = store.open(step)
                assert store.verify(step) == [], whole
    return met


def test_faults_at_random_lose_nothing(machine, door, monkeypatch):
    monkeypatch.setattr("tests.remote.server.SLOW_SECONDS", 0.02)
    assert len(injected(machine, door, seed=1, num_faults=25)) >= 25


@pytest.mark.slow
def test_two_hundred_faults_at_random_lose_nothing(machine, door, monkeypatch):
    monkeypatch.setattr("tests.remote.server.SLOW_SECONDS", 0.1)
    met = injected(machine, door, seed=2, num_faults=200)
    assert len(set(met)) == 5


def test_a_kill_between_finishing_and_sending_loses_nothing(machine, data_step, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*arguments):
        raise Killed

    one = machine("one")
    monkeypatch.setattr(one, "_send", die)
    with pytest.raises(Killed):
        finish(one, data_step)
    again = machine("one")
    assert again.finished(data_step)
    assert again.send_all([data_step]) == 1
    assert machine("two").open(data_step, "a.txt").read_bytes() == b"a" * 50


def test_a_journal_of_a_store_has_what_moved(machine, data_step, tmp_path):
    one, two = machine("one"), machine("two")
    finish(one, data_step)
    two.open(data_step, "a.txt")
    two.open(data_step)
    assert [event["bytes"] > 999 for event in events(one, "step sent")] == [True]
    assert [event["file"] for event in events(two, "file fetched")] == ["a.txt"]
    assert len(events(two, "step fetched")) == 1
    assert isinstance(two.objects.journal, Journal)
    assert Path(two.root).is_relative_to(tmp_path)
