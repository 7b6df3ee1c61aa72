import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

DRIVER = Path(__file__).with_name("kill_driver.py")


def drive(saver):
    memory = Path("/dev/shm")  # where there is one: hundreds of folders come and go
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        return report_of(saver, folder)


def report_of(saver, folder):
    done = subprocess.run(
        [sys.executable, DRIVER, saver, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_kill_at_any_file_event_leaves_a_step_whole_or_absent_and_the_command_goes_on():
    report = drive("sound")

    assert report["faults"] == []
    assert report["events"] > 80
    assert report["events"] <= report["kills"]


@pytest.mark.parametrize("saver", ["in_place", "copied"])
def test_a_saver_with_a_mistake_is_caught(saver):
    assert any("missing" in fault for fault in drive(saver)["faults"])
