"""One driver of a run among all machines."""

import threading
import time

import pytest

from retain.errors import StoreError
from retain.remote import Objects, owner
from retain.remote.objects import NOT_CONDITIONAL
from retain.remote.owner import Claim, owning
from retain.steps.lock import LockHeldError


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(owner, "WATCH_SECONDS", 60)
    monkeypatch.setattr(owner, "LOOK_SECONDS", 0.02)


@pytest.fixture
def own(url, tmp_path):
    said = []

    def do(machine):
        return owning(Objects(url), "toy", tmp_path / machine, said.append)

    do.said = said
    return do


def left_by_a_dead(url, tmp_path, machine, host):
    folder = str((tmp_path / machine).resolve())
    claim = Claim(host, 7, folder, since="2031-01-01T00:00:00+00:00", token="x")
    assert Objects(url).create("toy/.owner/4.json", claim.content())


def test_a_second_machine_is_refused_while_the_first_lives(own):
    with own("one") as still_mine:
        with pytest.raises(LockHeldError, match=r"runs/toy: process \d+ on .* has it"), own("two"):
            pass
        still_mine()
    with own("two"):
        pass


def test_what_a_dead_machine_had_is_taken_over_after_a_while(own, url, tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "WATCH_SECONDS", 0.6)
    left_by_a_dead(url, tmp_path, "one", "gone")
    with own("two") as still_mine:  # its clock, years ahead, does not matter
        still_mine()
    assert "looking for 1 s whether it lives" in own.said[0]
    assert "taken over" in own.said[1]


def test_the_same_folder_goes_on_at_once(own, url, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    left_by_a_dead(url, tmp_path, "one", "here")
    with own("one"):
        pass
    assert own.said == []


def test_of_many_one_is_first(own):
    inside, refused, gate = [], [], threading.Barrier(4)
    others_left = threading.Event()

    def drive(name):
        gate.wait()
        try:
            with own(name):
                inside.append(name)
                assert others_left.wait(120)
        except LockHeldError:
            refused.append(name)
            if len(refused) == 3:
                others_left.set()

    drivers = [threading.Thread(target=drive, args=(f"m{number}",)) for number in range(4)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert len(inside) == 1
    assert len(refused) == 3


def test_who_was_not_heard_learns_that_it_was_taken_over(own, url):
    with own("one") as still_mine:
        assert Objects(url).create("toy/.owner/2.json", Claim("b", 1, "", "now", "t").content())
        with pytest.raises(StoreError, match="was taken over by process 1 on b since now"):
            still_mine()


def test_a_store_that_cannot_say_who_was_first_is_refused(own, monkeypatch):
    monkeypatch.setattr(Objects, "create", lambda self, name, content: True)
    with pytest.raises(StoreError) as caught, own("one"):
        pass
    assert NOT_CONDITIONAL in str(caught.value)


def test_a_store_that_is_read_only_is_refused_before_anything_is_done(own, door):
    door.fault = lambda method, path: "denied" if method in ("PUT", "POST", "DELETE") else None
    with pytest.raises(StoreError, match="may not do that"), own("one"):
        pass


def test_a_store_that_falls_silent_ends_no_run(own, door):
    with own("one") as still_mine:
        door.fault = lambda method, path: "500" if method == "PUT" else None
        time.sleep(0.2)
        door.fault = lambda method, path: None
        still_mine()
