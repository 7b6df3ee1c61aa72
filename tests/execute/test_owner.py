import subprocess
import sys
import textwrap
import time

import pytest

from retain.errors import RecipeError, StoreError
from retain.execute import own_run, run_folder
from retain.steps.lock import LockHeldError

NUM_STARTERS = 8
START = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from retain.errors import StoreError
    from retain.execute import own_run
    sys.stdin.readline()
    begun = time.monotonic()
    try:
        with own_run(Path(sys.argv[1])):
            print("won", flush=True)
            sys.stdin.readline()
    except StoreError as error:
        print(f"{time.monotonic() - begun:.3f} {error}", flush=True)
    """
)


@pytest.fixture
def starters(tmp_path):
    """Processes that are ready to start on one run folder."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", START, tmp_path / "runs" / "med"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(NUM_STARTERS)
    ]
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_of_many_starters_one_wins_and_the_others_are_told_who(tmp_path, starters):
    for process in starters:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.stdout.readline().strip() for process in starters]
    (winner,) = (process for process, text in zip(starters, said, strict=True) if text == "won")

    for text in said:
        if text != "won":
            assert f"process {winner.pid} on " in text
            assert float(text.split()[0]) < 2
    winner.kill()
    winner.wait()
    with own_run(tmp_path / "runs" / "med"):
        pass


def test_torn_files_of_an_earlier_owner_are_removed(tmp_path):
    (tmp_path / "med").mkdir()
    (tmp_path / "med" / ".tmp-steps.json-0123").write_text("{")
    (tmp_path / "med" / "scores.csv").write_text("x")
    with own_run(tmp_path / "med"):
        assert sorted(path.name for path in (tmp_path / "med").iterdir()) == [".lock", "scores.csv"]


def test_the_same_process_is_refused_too(tmp_path):
    started = time.monotonic()
    with (
        own_run(tmp_path),
        pytest.raises(LockHeldError, match="one `retain run`"),
        own_run(tmp_path),
    ):
        pass
    assert time.monotonic() - started < 1


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot be written.*choose another"):
        own_run(tmp_path / "runs" / "med").__enter__()


def test_runs_stay_in_the_runs_folder(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "out").symlink_to(tmp_path)

    assert run_folder(runs, "med-1.2") == runs / "med-1.2"
    with pytest.raises(StoreError, match=r"outside .*runs"):
        run_folder(runs, "out")
    for name in ("..", "../x", "/etc", ".steps", "a/b"):
        with pytest.raises(RecipeError, match="run name"):
            run_folder(runs, name)
