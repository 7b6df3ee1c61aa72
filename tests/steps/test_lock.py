import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from retain.errors import StoreError
from retain.steps.lock import Holder, LockHeldError, locked, read_holder

HOLD = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from retain.steps.lock import locked
    with locked(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
    """
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks" / "a.lock"


@pytest.fixture
def owner(path):
    """Another process that holds the lock until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_is_told_who_where_and_since_when(path, owner):
    started = time.monotonic()
    with pytest.raises(LockHeldError) as raised, locked(path, what="runs/med"):
        pass

    assert time.monotonic() - started < 2
    assert raised.value.holder.pid == owner.pid
    assert raised.value.holder.host == socket.gethostname()
    assert f"runs/med: process {owner.pid} on {socket.gethostname()} since 20" in str(raised.value)


def test_a_killed_owner_holds_nothing(path, owner):
    owner.kill()
    owner.wait()

    with locked(path):
        assert read_holder(path).pid == os.getpid()


def test_waiting_ends_with_the_lock(path, owner):
    seen = []

    def wait(holder):
        seen.append(holder.pid)
        owner.kill()

    with locked(path, wait=wait):
        assert seen[0] == owner.pid


def test_waiting_can_be_given_up(path):
    def give_up(holder):
        raise TimeoutError

    with locked(path), pytest.raises(TimeoutError), locked(path, wait=give_up):
        pass


def test_many_may_share_and_one_may_not(path):
    with (
        locked(path, shared=True),
        locked(path, shared=True),
        pytest.raises(LockHeldError),
        locked(path),
    ):
        pass
    with locked(path), pytest.raises(LockHeldError), locked(path, shared=True):
        pass


def test_a_child_left_behind_does_not_hold_its_dead_parents_lock(path):
    fork = 'import os\n    if os.fork() == 0:\n        print(os.getpid(), end=" ", flush=True)\n'
    fork += "        time.sleep(60)\n    time.sleep(0.3)\n    "
    script = HOLD.replace('print("held"', f'{fork}print("held"')
    parent = subprocess.Popen(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True
    )
    child, word = parent.stdout.readline().split()
    parent.kill()
    parent.wait()
    try:
        assert word == "held"
        with locked(path):
            os.kill(int(child), 0)
    finally:
        os.kill(int(child), 9)
        parent.stdout.close()


def test_a_lock_file_that_was_cleaned_away_is_nobodys(path):
    with locked(path):
        path.unlink()
        with locked(path):
            assert path.exists()


def test_an_unsigned_lock_is_somebodys(path, monkeypatch):
    monkeypatch.setattr("retain.steps.lock.HOLDER_SECONDS", 0.05)
    with locked(path):
        for content in (b"", b"[1]", b'{"x": 1}', dead_holder()):
            path.write_bytes(content)
            with pytest.raises(LockHeldError, match="another process"), locked(path):
                pass


def dead_holder():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return json.dumps({"pid": child.pid, "host": socket.gethostname(), "since": "then"}).encode()


def test_a_new_owner_gets_the_time_to_sign(path):
    with locked(path):
        signature = path.read_bytes()
        path.write_bytes(b"")
        timer = threading.Timer(0.1, path.write_bytes, [signature])
        timer.start()
        with pytest.raises(LockHeldError, match=f"process {os.getpid()}"), locked(path):
            pass
        timer.join()


def test_holders_elsewhere_and_of_other_users_may_live(path, monkeypatch):
    with locked(path):
        path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "then"}))
        with pytest.raises(LockHeldError, match="process 1 on elsewhere since then"), locked(path):
            pass
        path.write_text(json.dumps({"pid": 1, "host": socket.gethostname(), "since": "then"}))

        def refuse(pid, number):
            raise PermissionError

        monkeypatch.setattr("os.kill", refuse)
        with pytest.raises(LockHeldError, match="process 1 on"), locked(path):
            pass


def test_a_disk_without_locks_is_told(path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError, match=r"cannot lock files .* local\s+disk"), locked(path):
        pass


def test_an_unknown_holder_reads_well():
    assert str(Holder()) == "another process on an unknown host since an unknown time"
