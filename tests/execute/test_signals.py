import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from retain.execute.signals import BOUNCE_SECONDS, listening
from retain.steps import Step, Store, read_journal
from retain.steps.manifest import faults

SCRIPT = Path(__file__).with_name("signal_script.py")


@pytest.fixture
def start(tmp_path):
    """Start the script, and wait until its step runs."""
    running = []

    def do(kind, grace_seconds=10.0):
        process = subprocess.Popen(
            [sys.executable, SCRIPT, kind, tmp_path, str(grace_seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process, process.stdout.readline().strip()

    yield do
    for process in running:
        process.kill()
        process.communicate()


def last_event(folder):
    return read_journal(folder / "journal.jsonl")[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_step_save_and_the_same_command_goes_on(tmp_path, start, number):
    process, said = start("saving")
    time.sleep(0.1)
    process.send_signal(number)

    assert said == "from 0"
    assert process.wait(5) == 130
    assert last_event(tmp_path)["error"] == "Interrupted"
    saved = int(next(tmp_path.glob(".steps/.partial/*/*/saved/count")).read_text())
    process, said = start("saving")
    assert said == f"from {saved}"
    assert process.wait(5) == 0
    assert Store(tmp_path / ".steps").verify(Step("saving", "x", 1, {})) == []


def test_a_step_in_compiled_code_is_left_when_its_time_is_over(tmp_path, start):
    process, _ = start("deaf", grace_seconds=0.5)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)

    assert process.wait(5) == 130
    assert 0.4 < time.monotonic() - started < 3
    assert last_event(tmp_path)["event"] == "step interrupted"
    assert "0.5 s after" in last_event(tmp_path)["reason"]
    assert faults(next(tmp_path.glob(".steps/.partial/*/*/saved"))) == []


def test_the_second_signal_leaves_at_once_and_frees_every_lock(tmp_path, start):
    process, _ = start("deaf")
    process.send_signal(signal.SIGINT)
    time.sleep(BOUNCE_SECONDS * 2)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)

    assert process.wait(5) == 130
    assert time.monotonic() - started < 2
    assert "second signal (SIGTERM)" in last_event(tmp_path)["reason"]
    with Store(tmp_path / ".steps").for_myself():
        pass


def test_one_request_sent_twice_is_one_request(tmp_path, start):
    process, _ = start("saving")
    process.send_signal(signal.SIGTERM)
    time.sleep(BOUNCE_SECONDS / 10)
    process.send_signal(signal.SIGTERM)

    assert process.wait(5) == 130
    assert last_event(tmp_path)["error"] == "Interrupted"


def test_a_step_that_ends_in_time_is_kept_and_the_next_is_not_begun(tmp_path, start):
    process, _ = start("quick")
    process.send_signal(signal.SIGTERM)

    assert process.wait(5) == 130
    store = Store(tmp_path / ".steps")
    assert len(store.entries()) == 1
    assert last_event(tmp_path)["event"] == "step finished"


def test_handlers_are_put_back_and_ignored_signals_stay_ignored():
    old = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    before = signal.getsignal(signal.SIGINT)
    try:
        with listening(on_stop=pytest.fail, on_leave=pytest.fail) as stop:
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            assert not stop()
        assert signal.getsignal(signal.SIGINT) is before
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGTERM, old)


def test_other_signals_are_not_ours():
    old = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        with listening(on_stop=pytest.fail, on_leave=pytest.fail) as stop:
            signal.raise_signal(signal.SIGUSR1)
            time.sleep(0.05)
            assert not stop()
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_the_listener_is_told_once():
    told = threading.Event()
    old = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with listening(on_stop=told.set, on_leave=pytest.fail) as stop:
            signal.raise_signal(signal.SIGTERM)
            assert stop()
            assert told.wait(2)
    finally:
        signal.signal(signal.SIGTERM, old)


def test_outside_the_main_thread_nothing_is_taken_over():
    seen = []

    def work():
        with listening(on_stop=pytest.fail, on_leave=pytest.fail) as stop:
            seen.append((stop(), signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [(False, before)]
