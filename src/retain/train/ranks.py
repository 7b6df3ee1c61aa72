"""Starts the other processes of a train step, hears what becomes of them, and ends them.

They are processes of this machine, started anew with a socket each (``retain.train.follower``).
They compute their part of every optimizer step, and write no result. One that dies closes its
connections, so all others hear at once and stop; one whose rank 0 dies leaves.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from retain.errors import TrainingError
from retain.methods.base import Method
from retain.model.precision import device as device_of
from retain.model.reference import Trust, trust
from retain.steps.durable import make_folder
from retain.steps.fingerprint import Json
from retain.steps.memory import large_blocks_apart
from retain.steps.packed import Packed, pack
from retain.steps.step import Step
from retain.steps.store import Store
from retain.steps.work import Work
from retain.train.processes import Processes
from retain.train.shards import Shards
from retain.train.team import Ranks, Team

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
ANSWER_TIMEOUT = 1800.0  # of one exchange: a rank may recompute a step that did not fit
NEWS_SECONDS = 10.0  # from an exchange that failed until it is known who is gone
END_SECONDS = 5.0
LAST_WORDS = 5
ENVIRONMENT = {"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false"}
HOST = "127.0.0.1"
GO = "go"
TORCHRUN = "TORCHELASTIC_RUN_ID"


class LostProcessError(TrainingError):
    """Another process of the step is gone."""


@dataclass(frozen=True)
class Order:
    """What every other process is told once.

    Attributes:
        root: The store's folder.
        steps: The train step, with all it builds on; it is the last.
        base: Folder of the base model.
        methods: That act in the step.
        device: ``cpu`` or ``cuda``.
        size: Processes in all.
        port: Where rank 0 brings them together.
        trust: What the command line allowed.
        open_store: Opens the store.
        shard: Whether each keeps a part of every block.
    """

    root: Path
    steps: tuple[Packed, ...]
    base: Path
    methods: tuple[Method, ...]
    device: str
    size: int
    port: int
    trust: Trust
    shard: bool
    open_store: Callable[[Path], Store] = Store


@dataclass
class Follower:
    """One of the other processes, as rank 0 sees it.

    Attributes:
        rank: Its number.
        process: The process.
        connection: Where it tells.
        log: What it printed.
        is_ready: Whether it has read the model.
        fault: What it raised.
        is_gone: Whether it has left.
    """

    rank: int
    process: "subprocess.Popen[bytes]"
    connection: Connection
    log: Path
    is_ready: bool = False
    fault: str = ""
    is_gone: bool = False

    def end(self) -> str:
        """How it ended, and what it printed last."""
        code = self.process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with {code}"
        lines = self.log.read_text("utf-8", "replace").strip().split("\n")[-LAST_WORDS:]
        return "\n".join([f"{how}; it printed last:", *lines]) if any(lines) else how


@dataclass
class Together:
    """The processes of one train step, seen from rank 0.

    Attributes:
        work: The running step.
        size: Processes in all.
        device: What rank 0 computes on.
        shard: Whether each keeps a part of every block.
        followers: The others.
        team: What this process computes with; connected by ``join``.
    """

    work: Work
    size: int
    device: torch.device
    shard: bool = False
    followers: list[Follower] = field(default_factory=list)
    team: Team = field(init=False)
    _store: Any = None
    _news: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        one = self.size == 1
        kind = Shards if self.shard else Ranks
        self.team = Team() if one else kind(0, self.size, self.device, self._lost)

    def start(self, order: Order, store: Any) -> None:
        """Start the others; they load libraries while this process reads the model."""
        self._store = store
        for rank in range(1, self.size):
            folder = Ranks(rank, self.size, self.device, self._lost).folder(self.work.partial)
            make_folder(folder)
            self.followers.append(_start(rank, order, folder / "printed.txt"))
        threading.Thread(target=self._listen, name="followers", daemon=True).start()

    def join(self) -> None:
        """Have the others read the model, wait until all are ready, and connect them.

        They begin now, when rank 0 has opened every input: what it finds damaged is its to tell.

        Raises:
            LostProcessError: If one does not come so far.
        """
        if self.size == 1:
            return
        for one in self.followers:
            with suppress(OSError):  # its death is heard of as such
                one.connection.send(GO)
        with self._news:
            self._news.wait_for(
                lambda: self._are_lost() or all(one.is_ready for one in self.followers),
                ANSWER_TIMEOUT,
            )
        if self._are_lost() or not all(one.is_ready for one in self.followers):
            self._lost(TimeoutError(f"not ready after {ANSWER_TIMEOUT:g} s"))
        assert self._store is not None
        connect(self._store, 0, self.size, self.device)

    def leave(self, error: BaseException | None) -> None:
        """End the others: at once, or after they have left by themselves."""
        deadline = time.monotonic() + (END_SECONDS if error is None else 0.0)
        for one in self.followers:
            try:
                one.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
        if dist.is_initialized():
            dist.destroy_process_group()

    def raise_if_lost(self, error: RuntimeError) -> None:
        """Say so where an error is of a process that is gone.

        Raises:
            LostProcessError: If one is.
        """
        with self._news:
            lost = self._news.wait_for(self._are_lost, NEWS_SECONDS if self.shard else 0.0)
        if lost:
            self._lost(error)

    def _are_lost(self) -> bool:
        return any(one.is_gone or one.fault for one in self.followers)

    def _lost(self, error: Exception) -> NoReturn:
        """Say which process is gone, and how."""
        with self._news:
            self._news.wait_for(self._are_lost, NEWS_SECONDS)
        after = "The last snapshot is kept, and the same command goes on from there"
        gone = [one for one in self.followers if one.is_gone and not one.fault]
        for one in gone:
            raise LostProcessError(
                f"process {one.rank} of this step's {self.size} {one.end()}. {after}"
            ) from error
        for one in self.followers:
            if one.fault:
                raise LostProcessError(f"process {one.rank} of {self.size}: {one.fault}") from error
        raise LostProcessError(
            f"the {self.size} processes of this step lost each other ({error}). {after}"
        ) from error

    def _listen(self) -> None:
        """In a thread: what the others tell, until all have left."""
        talking = {one.connection: one for one in self.followers}
        while talking:
            for connection in wait(list(talking)):
                assert isinstance(connection, Connection)
                one = talking[connection]
                try:
                    said, values = connection.recv()
                except (EOFError, OSError):
                    del talking[connection]
                    connection.close()
                    said, values = "gone", {}
                self._take(one, said, values)

    def _take(self, one: Follower, said: str, values: dict[str, Json]) -> None:
        if said == "event":
            kind = str(values.pop("kind"))
            self.work.event(kind, process=one.rank, **values)
            return
        with self._news:
            match said:
                case "ready":
                    one.is_ready = True
                case "fault":
                    one.fault = str(values["message"])
                case "gone":
                    one.is_gone = True
            self._news.notify_all()
        if said == "gone" and self.device.type == "cuda" and dist.is_initialized():
            dist.distributed_c10d._abort_process_group()  # NCCL waits for the dead without end


@contextmanager
def together(
    work: Work, *, processes: Processes, device: str, base: Path, methods: Sequence[Method]
) -> Iterator[Together]:
    """Inside, the other processes of a train step are started, and after it they have left.

    Args:
        work: The running step.
        processes: How many, and what each holds; 1 starts none.
        device: ``auto``, or a device of torch; each process has a GPU of its own.
        base: Folder of the base model.
        methods: That act in the step.

    Raises:
        TrainingError: If there cannot be so many here.
    """
    if processes.number == 1:
        yield Together(work, 1, torch.device("cpu"))
        return
    on = device_for(processes.number, device)
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    order = Order(
        root=work.store.root,
        steps=pack(_ordered(work.step)),
        base=base,
        methods=tuple(methods),
        device=on.type,
        size=processes.number,
        shard=processes.shard,
        port=store.port,
        trust=trust,
        open_store=work.store.opener(),
    )
    team = Together(work, processes.number, on, processes.shard)
    error: BaseException | None = None
    try:
        with large_blocks_apart() if processes.shard else nullcontext():
            team.start(order, store)
            yield team
    except RuntimeError as raised:  # of an exchange inside a forward or backward pass
        error = raised
        team.raise_if_lost(raised)
        raise
    except BaseException as raised:
        error = raised
        raise
    finally:
        team.leave(error)


def connect(store: Any, rank: int, size: int, device: torch.device) -> None:
    """Start ``torch.distributed`` in this process; on CPUs nothing leaves the machine."""
    from datetime import timedelta

    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _loopback():
        dist.init_process_group(
            BACKENDS[device.type],
            store=store,
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=ANSWER_TIMEOUT),
            device_id=device if device.type == "cuda" else None,
        )


def device_for(processes: int, wanted: str = "auto") -> torch.device:
    """What rank 0 of so many processes computes on.

    Raises:
        TrainingError: If so many processes cannot compute here.
    """
    on = device_of(wanted)
    if dist.is_initialized() or TORCHRUN in os.environ:
        raise TrainingError(
            "train.processes: this process was started under torchrun or has begun "
            "torch.distributed itself; start it plainly, the step starts its processes"
        )
    if on.type not in BACKENDS:
        raise TrainingError(
            f"train.processes: {processes} works on {' and '.join(BACKENDS)}, and this machine "
            f"computes on {on.type}; leave it out"
        )
    if on.type == "cuda" and torch.cuda.device_count() < processes:
        raise TrainingError(
            f"train.processes: {processes} needs as many GPUs, and this process sees "
            f"{torch.cuda.device_count()} (with --jobs and on Ray a worker has one to itself); "
            "give fewer processes, or leave --jobs and --on out"
        )
    return torch.device("cuda", 0) if on.type == "cuda" else on


def _start(rank: int, order: Order, log: Path) -> Follower:
    ours, theirs = Pipe()
    begin = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from retain.train.follower import main; main({theirs.fileno()})"
    )
    try:
        told = pickle.dumps((rank, order))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        names = ", ".join(method.name for method in order.methods)
        raise TrainingError(
            f"train.processes: a method cannot be told to another process ({names}): {error}; "
            "define it in a module"
        ) from error
    with log.open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", begin],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is rank 0's to hear
        )
    theirs.close()
    with suppress(OSError):  # its death is heard of as such
        ours.send_bytes(told)
    return Follower(rank, process, ours, log)


def _ordered(step: Step) -> list[Step]:
    """A step after all it builds on."""
    found: dict[Step, None] = {}
    waiting = [(step, False)]
    while waiting:
        one, inputs_done = waiting.pop()
        if inputs_done:
            found.setdefault(one)
        elif one not in found:
            waiting += [(one, True), *((source, False) for source in one.inputs.values())]
    return list(found)


@contextmanager
def _loopback() -> Iterator[None]:
    """Inside, gloo listens where only this machine reaches it."""
    import socket

    name = "GLOO_SOCKET_IFNAME"
    inner = [one for _, one in socket.if_nameindex() if one.startswith("lo")]
    before = os.environ.get(name)
    if before is None and inner:
        os.environ[name] = inner[0]
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
