"""Ranks that are forks of a process with every library loaded: a phase takes them a second.

How a step starts its processes is tested in ``test_ranks``; here is what they compute together.
"""

import json
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist

from retain.errors import Interrupted, RetainError, TrainingError
from retain.steps import durable
from retain.train.hooks import Hooks
from retain.train.loop import train_phase
from retain.train.optimizer import choose
from retain.train.plan import Plan
from retain.train.ranks import connect
from retain.train.team import Ranks, Team
from tests.conftest import make_model
from tests.train.phases import SETTINGS, make_stream, make_work

FAILED, BROKEN = 3, 4
MAX_SECONDS = 300.0


def lost(error):
    raise TrainingError(f"lost: {error}")


def by_ranks(size, folder, *, kill_at=None, stop_at=None, **options):
    """Train a phase by ranks; the seconds from the end of the first to that of the last.

    Args:
        size: How many; 1 trains alone.
        folder: Where the work and the result of rank 0 lie; it goes on from what is there.
        kill_at: ``(what, number)``: rank 1 is killed at that ``event`` of files or ``step``.
        stop_at: Rank 0 is asked to stop after that step.
        options: Of `phase`.
    """
    sys.stdout.flush()
    reader, writer = os.pipe()
    with TemporaryDirectory() as meeting:
        pids: list[int] = []
        for rank in reversed(range(size)):
            pid = os.fork()
            if pid == 0:
                _in_child(rank, size, Path(meeting), folder, kill_at, stop_at, pids, writer,
                          options)  # fmt: skip
            pids.append(pid)
        pids.reverse()
        ended = {}
        deadline = time.monotonic() + MAX_SECONDS
        while len(ended) < size and time.monotonic() < deadline:
            for rank, pid in enumerate(pids):
                if rank not in ended and os.waitpid(pid, os.WNOHANG) != (0, 0):
                    ended[rank] = time.monotonic()
            time.sleep(0.002)
        for rank, pid in enumerate(pids):
            if rank not in ended:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    assert len(ended) == size, "a rank never ended"
    return max(ended.values()) - min(ended.values())


def _in_child(rank, size, meeting, folder, kill_at, stop_at, pids, writer, options):
    status = BROKEN
    try:
        team = Team()
        if size > 1:
            device = torch.device("cpu")
            team = Ranks(rank, size, device, lost)
            connect(dist.FileStore(str(meeting / "store"), size), rank, size, device)
        _phase(team, folder, kill_at, stop_at, pids, **options)
        status = 0
    except (RetainError, RuntimeError, Interrupted) as error:
        (folder / f"error-{rank}.txt").write_text(f"{type(error).__name__}: {error}")
        status = FAILED
    except BaseException:  # noqa: BLE001 - a child never returns into the test
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _phase(team, folder, kill_at, stop_at, pids, *, settings=None, hooks=None, stream=None,
           tokens=40, changes=None, names=None):  # fmt: skip
    """What each rank does."""
    torch.set_num_threads(1)
    asked = []
    work = make_work(folder, stop=lambda: team.rank == 0 and bool(asked))
    if team.rank == 0:
        left = iter(range(kill_at[1])) if kill_at else iter(())

        def count(*_):
            if kill_at and next(left, None) is None:
                with suppress(ProcessLookupError):
                    os.kill(pids[-1], signal.SIGKILL)

        def progress(done, *_):
            if kill_at and kill_at[0] == "step":
                count()
            if done == stop_at:
                asked.append(1)

        if kill_at and kill_at[0] == "event":
            durable.on_file_event = count
        work.on_progress = progress
    model = make_model(**(changes or {}))
    choose(model, names)
    settings = settings or replace(SETTINGS, learning_rate=1e-3, weight_decay=0.1, save_steps=2)
    stream = stream or make_stream(num_steps=5, epochs=10)
    curve = train_phase(model, stream, settings, hooks or Hooks(), Plan(tokens, 1), work, team=team)
    if team.rank == 0:
        torch.save({n: p.detach() for n, p in model.named_parameters()}, folder / "weights")
        (folder / "curve.json").write_text(json.dumps([point.loss for point in curve]))
        (folder / "events.json").write_text(json.dumps(work.events))


def result(folder):
    """Weights and losses that rank 0 left."""
    return torch.load(folder / "weights"), json.loads((folder / "curve.json").read_text())


def kills(root, attempts):
    """Rank 1 is killed again and again, at file events of saves and at steps; what comes of it."""
    by_ranks(1, root / "one")
    by_ranks(2, root / "two")
    seconds = [by_ranks(2, root / "killed", kill_at=kill_at) for kill_at in attempts]
    finished = (root / "killed" / "curve.json").exists()
    by_ranks(2, root / "killed")
    events = json.loads((root / "killed" / "events.json").read_text())
    return {
        "outlived_seconds": max(seconds),
        "finished_in_spite": finished,
        "resumed": [e["optimizer_step"] for e in events if e["kind"] == "resumed"],
        "from_one": apart(root / "one", root / "two"),
        "from_undisturbed": apart(root / "two", root / "killed"),
    }


def numbers(root):
    """A phase that goes on with another number of ranks after each of several stops."""
    by_ranks(1, root / "one")
    by_ranks(2, root / "whole")
    by_ranks(2, root / "pieces", stop_at=9)
    by_ranks(1, root / "pieces", stop_at=20)
    by_ranks(3, root / "pieces", stop_at=31)
    by_ranks(2, root / "pieces")
    events = json.loads((root / "pieces" / "events.json").read_text())
    return {
        "resumed": [e["optimizer_step"] for e in events if e["kind"] == "resumed"],
        "from_one": apart(root / "one", root / "whole"),
        "pieces_from_one": apart(root / "one", root / "pieces"),
    }


def apart(one, other):
    """The largest difference of losses, and of weights."""
    (left, losses), (right, others) = result(one), result(other)
    assert left.keys() == right.keys()
    of_losses = max(abs(a - b) for a, b in zip(losses, others, strict=True))
    return of_losses, max(float((left[name] - right[name]).abs().max()) for name in left)


ASKED = {
    "kills": lambda root: kills(root, [("event", 12), ("step", 9), ("event", 33), ("step", 2)]),
    "numbers": lambda root: numbers(root),
}

if __name__ == "__main__":
    print(json.dumps(ASKED[sys.argv[1]](Path(sys.argv[2]))))  # noqa: T201 - read by the test
