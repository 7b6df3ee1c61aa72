"""One of the other processes of a train step: it computes its part, and writes no result.

What it raises is told to rank 0, which raises it; where rank 0 is gone, it leaves.
"""

import os
import pickle
import shutil
import signal
import sys
import threading
import time
import traceback
from contextlib import nullcontext
from multiprocessing.connection import Connection
from typing import NoReturn

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from retain.errors import RetainError
from retain.model.reference import trust
from retain.model.threads import threads
from retain.steps.memory import large_blocks_apart
from retain.steps.packed import unpack
from retain.steps.work import Work
from retain.train.loop import train_phase
from retain.train.ranks import GO, HOST, Order, connect
from retain.train.shards import Shards
from retain.train.step import prepared
from retain.train.team import Ranks

LEFT = 130
END_SECONDS = 30.0  # to be ended by rank 0, or leave


def main(descriptor: int) -> None:
    """What such a process does from its first to its last line.

    Args:
        descriptor: Its end of the socket.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells every process; rank 0 saves
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection = Connection(descriptor)
    try:
        rank, order = pickle.loads(connection.recv_bytes())
    except EOFError:
        return
    may_go = threading.Event()
    threading.Thread(target=_obey, args=(connection, may_go), daemon=True).start()
    may_go.wait()
    try:
        _follow(rank, order, connection)
    except BaseException as error:  # noqa: BLE001 - it is raised by rank 0
        traceback.print_exc()
        known = isinstance(error, RetainError)
        message = str(error) if known else f"{type(error).__name__}: {error}"
        connection.send(("fault", {"message": message}))
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _follow(rank: int, order: Order, connection: Connection) -> None:
    """Prepare as rank 0 does, then train with it."""
    vars(trust).update(vars(order.trust))
    device = torch.device(order.device, rank) if order.device != "cpu" else torch.device("cpu")
    team = (Shards if order.shard else Ranks)(rank, order.size, device, _lost)
    step, store = unpack(order.steps)[-1], order.open_store(order.root)
    partial = store.partial(step)
    output = team.folder(partial) / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)

    def on_event(kind: str, /, **fields: object) -> None:
        said = {name: value for name, value in fields.items() if name != "step"}
        connection.send(("event", {"kind": kind} | said))

    work = Work(step=step, output=output, partial=partial, store=store, on_event=on_event)
    with large_blocks_apart() if order.shard else nullcontext():
        ready = prepared(work, order.base, order.methods, str(device), team)
        connection.send(("ready", {}))
        connect(TCPStore(HOST, order.port, is_master=False), rank, order.size, device)
        with threads(ready.plan.num_threads):
            train_phase(
                ready.loaded.model,
                ready.stream,
                ready.settings,
                ready.hooks,
                ready.plan,
                work,
                team=team,
            )


def _lost(error: Exception) -> NoReturn:
    """Another process is gone: whether it was rank 0 or not, this one is about to be ended."""
    print(f"lost the others: {error}", flush=True)  # noqa: T201 - the last words of this process
    time.sleep(END_SECONDS)
    os._exit(LEFT)


def _obey(connection: Connection, may_go: threading.Event) -> None:
    """Begin when rank 0 says so; without it there is nothing to do."""
    try:
        while True:
            if connection.recv() == GO:
                may_go.set()
    except (EOFError, OSError):
        os._exit(LEFT)
