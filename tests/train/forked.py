"""Ranks that are forks of a process with every library loaded: a phase takes them a second.

How a step starts its processes is tested in ``test_ranks``; here is what they compute together.
"""

import json
import os
import signal
import sys
import time
import traceback
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist

from retain.errors import Interrupted, RetainError, TrainingError
from retain.steps import durable
from retain.steps.memory import large_blocks_apart
from retain.train.hooks import Hooks
from retain.train.loop import train_phase
from retain.train.optimizer import choose
from retain.train.plan import Plan
from retain.train.ranks import connect
from retain.train.shards import Shards, put_into
from retain.train.stream import Stream
from retain.train.team import Ranks, Team
from tests.conftest import make_model
from tests.train.phases import SETTINGS, make_row, make_stream, make_work

FAILED, BROKEN = 3, 4
MAX_SECONDS = 300.0


def lost(error):
    raise TrainingError(f"lost: {error}")


def by_ranks(size, folder, *, kind=Ranks, kill_at=None, stop_at=None, **options):
    """Train a phase by ranks; the seconds from the end of the first to that of the last.

    Args:
        size: How many; 1 trains alone.
        folder: Where the work and the result of rank 0 lie; it goes on from what is there.
        kind: Of rank.
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
                _in_child(rank, size, Path(meeting), folder, kind, kill_at, stop_at, pids, writer,
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


def _in_child(rank, size, meeting, folder, kind, kill_at, stop_at, pids, writer, options):
    status = BROKEN
    try:
        team = Team()
        if size > 1:
            device = torch.device("cpu")
            team = kind(rank, size, device, lost)
            connect(dist.FileStore(str(meeting / "store"), size), rank, size, device)
        with large_blocks_apart() if team.is_divided else nullcontext():
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
    (folder / f"megabytes-{team.rank}").write_text(str(_status("VmHWM")))
    if team.rank == 0:
        if team.is_divided:
            trained, model = model, make_model(**(changes or {}))
            put_into(team, model, [n for n, p in trained.named_parameters() if p.requires_grad])
            team.go_on()
        torch.save({n: p.detach() for n, p in model.named_parameters()}, folder / "weights")
        (folder / "curve.json").write_text(json.dumps([point.loss for point in curve]))
        (folder / "events.json").write_text(json.dumps(work.events))


def _status(key):
    """Megabytes of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def result(folder):
    """Weights and losses that rank 0 left."""
    return torch.load(folder / "weights"), json.loads((folder / "curve.json").read_text())


def kills(root, attempts, kind):
    """Rank 1 is killed again and again, at file events of saves and at steps; what comes of it."""
    by_ranks(1, root / "one")
    by_ranks(2, root / "two", kind=kind)
    killed = root / "killed"
    seconds = [by_ranks(2, killed, kind=kind, kill_at=kill_at) for kill_at in attempts]
    finished = (killed / "curve.json").exists()
    by_ranks(2, killed, kind=kind)
    events = json.loads((root / "killed" / "events.json").read_text())
    return {
        "outlived_seconds": max(seconds),
        "finished_in_spite": finished,
        "resumed": [e["optimizer_step"] for e in events if e["kind"] == "resumed"],
        "from_one": apart(root / "one", root / "two"),
        "from_undisturbed": apart(root / "two", root / "killed"),
    }


def numbers(root, kind):
    """A phase that goes on with another number of ranks after each of several stops."""
    by_ranks(1, root / "one")
    by_ranks(2, root / "whole", kind=kind)
    by_ranks(2, root / "pieces", kind=kind, stop_at=9)
    by_ranks(1, root / "pieces", stop_at=20)
    by_ranks(3, root / "pieces", kind=kind, stop_at=31)
    by_ranks(2, root / "pieces", kind=kind)
    events = json.loads((root / "pieces" / "events.json").read_text())
    return {
        "resumed": [e["optimizer_step"] for e in events if e["kind"] == "resumed"],
        "from_one": apart(root / "one", root / "whole"),
        "pieces_from_one": apart(root / "one", root / "pieces"),
    }


def memory(root, width):
    """The most memory of one process, and of each of two that divide four wide blocks.

    In megabytes, the imported libraries first, which are in each.
    """
    libraries = _status("VmRSS")
    wide = {"hidden_size": width, "intermediate_size": width * 11 // 4, "num_hidden_layers": 4}
    rows = [(make_row(f"a{i}", 12), make_row(f"b{i}", 12)) for i in range(3)]
    options = {"changes": wide, "stream": Stream(tuple(rows)), "settings": SETTINGS}
    by_ranks(1, root / "one", **options)
    by_ranks(2, root / "two", kind=Shards, **options)
    names = ("one/megabytes-0", "two/megabytes-0", "two/megabytes-1")
    return [libraries, *(float((root / name).read_text()) for name in names)]


def rounded(root):
    """Two ranks in bf16 that compute activations twice: each with all weights, and divided."""
    in_bf16 = replace(SETTINGS, precision="bf16", gradient_checkpointing=True, learning_rate=1e-3)
    options = {"settings": in_bf16, "stream": make_stream(num_steps=5, epochs=2)}
    by_ranks(2, root / "whole", **options)
    by_ranks(2, root / "divided", kind=Shards, **options)
    return {"apart": apart(root / "whole", root / "divided")}


def apart(one, other):
    """The largest difference of losses, and of weights."""
    (left, losses), (right, others) = result(one), result(other)
    assert left.keys() == right.keys()
    of_losses = max(abs(a - b) for a, b in zip(losses, others, strict=True))
    return of_losses, max(float((left[name] - right[name]).abs().max()) for name in left)


KILLS = [("event", 12), ("step", 9), ("event", 33), ("step", 2)]
ASKED = {
    "kills": lambda root: kills(root, KILLS, Ranks),
    "kills of shards": lambda root: kills(root, KILLS[:2], Shards),
    "numbers": lambda root: numbers(root, Ranks),
    "numbers of shards": lambda root: numbers(root, Shards),
    "rounded": rounded,
    "memory": lambda root: memory(root, 1024),
    "memory of a wider model": lambda root: memory(root, 2048),
}

if __name__ == "__main__":
    print(json.dumps(ASKED[sys.argv[1]](Path(sys.argv[2]))))  # noqa: T201 - read by the test
