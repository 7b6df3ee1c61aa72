"""Steps that do almost nothing, for workers: importable in a process of its own, and quickly."""

import os
import signal
import sys
import time

from retain.errors import DataError, Interrupted, RecipeError
from retain.steps import Step

NUM_COUNTS = 1000


def toy(name, kind="toy", inputs=(), **settings):
    """A step that reads others, whatever their names."""
    named = {f"in{number}": step for number, step in enumerate(inputs)}
    return Step(kind, name, 1, {"name": name, **settings}, named)


def run(work):
    """Does a step of any of the kinds below."""
    globals()[f"do_{work.step.kind}"](work)


def do_toy(work):
    """What its inputs hold, and its name."""
    time.sleep(work.step.settings.get("seconds", 0.0))
    before = [work.input(role, "text").read_text() for role in sorted(work.step.inputs)]
    work.progress(1, 1, "all", "names")
    work.event("written", name=work.step.name)
    (work.output / "text").write_text("(" + " ".join(before) + ")" + work.step.name)


def do_fails(work):
    """A mistake of the user."""
    raise RecipeError(f"{work.step.name} cannot be")


def do_bug(work):
    """A mistake of ours."""
    sys.stdout.write("dividing\n")
    sys.stdout.flush()
    return 1 // 0


def do_saving(work):
    """Counts slowly and saves each count; goes on from the last one."""
    saved = work.partial / "count"
    start = int(saved.read_text()) if saved.exists() else 0
    work.event("counting", start=start)
    for count in range(start, start + 3 if start else NUM_COUNTS):
        time.sleep(0.02)
        saved.write_text(str(count + 1))
        if work.stop():
            raise Interrupted("saved")
    (work.output / "text").write_text("counted")


def do_dies(work):
    """Kills its process so many times, and then does what a toy does."""
    saved = work.partial / "deaths"
    deaths = int(saved.read_text()) if saved.exists() else 0
    if deaths < work.step.settings["deaths"]:
        saved.write_text(str(deaths + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    do_toy(work)


def do_left(work):
    """Is told to leave, once, by somebody who does not know of the leader."""
    saved = work.partial / "left"
    if not saved.exists():
        saved.write_text("once")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        work.check_stop()
    do_toy(work)


def do_deaf(work):
    """Looks at nothing for a long time."""
    time.sleep(60)


def do_place(work):
    """Who did it, with how many threads."""
    text = f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}"
    (work.output / "text").write_text(text)


def do_broken_data(work):
    """An error whose class is not in the tree itself."""

    class OwnError(DataError):
        pass

    raise OwnError("line 3")


def do_bug_at_start():
    """What a worker is to begin with, and cannot."""
    raise ValueError("cannot begin")
