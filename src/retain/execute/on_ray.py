"""Workers that are actors of a Ray cluster, each with its CPUs, GPU and memory to itself.

Ray finds a node for each, starts the process, carries messages, and says when one died; what is
done next is decided as with processes of one machine (``many``). Every node must see the runs
folder and the recipe's files under the leader's paths: results are handed on by the disk.
"""

import os
import pickle
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from retain.errors import RetainError
from retain.execute.processes import NO_BARS, THREADS, set_threads
from retain.execute.ray_head import Head, connect
from retain.execute.told import Gone, Ready, Refused, Told
from retain.execute.worker import Assignment, Worker, ready
from retain.steps.durable import megabytes
from retain.steps.record import installed_versions

SAME = ("retain", "torch")
"""Libraries whose versions must be the leader's; Ray itself sees to Python's and its own."""
TALK_SECONDS = 2.0
"""How long a worker with nothing to tell lets its leader wait; Ray hears of a death by itself."""
COUNT_SECONDS = 10.0
"""Between two looks at which nodes there are."""
SHARED = "a shared disk, mounted at the same place"
MAX_REASON = 300
INSTALL = "pip install 'retain[ray]'"


@dataclass(frozen=True)
class Share:
    """What one worker takes of its node.

    Attributes:
        cpus: Its threads.
        gpus: 1 where the cluster has any.
        memory_bytes: Of the largest step; 0 with a GPU, whose own memory Ray does not count.
    """

    cpus: int
    gpus: int
    memory_bytes: int

    def fits(self, node: Mapping[str, float]) -> int:
        """How many such workers a node has room for."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes}
        return min(int(node.get(name, 0) // much) for name, much in asked.items() if much)

    def __str__(self) -> str:
        more = "1 GPU" if self.gpus else f"{megabytes(self.memory_bytes)} of memory"
        return f"{self.cpus} CPU(s) and {more}"


class RayActors:
    """Actors as workers; leaving the block ends them, and a cluster that was started for them.

    Args:
        assignment: What each is told once.
        jobs: How many there may be at once; None: as many as fit.
        memory_bytes: Of the largest step.

    Raises:
        RetainError: If Ray is not installed, the cluster is not reached, or no node has room.
    """

    def __init__(self, assignment: Assignment, jobs: int | None, memory_bytes: int) -> None:
        self._ray = _imported()
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            connect(self._ray)
        self._jobs = jobs
        self._share, self._most = divide(self._nodes(), jobs, memory_bytes)
        self._head = Head(self._ray.get_runtime_context().gcs_address)
        self._counted_at = time.monotonic()
        self._assignment = self._ray.put(pickle.dumps(assignment))
        self._living: dict[Any, Actor] = {}

    def __enter__(self) -> "RayActors":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._head.is_lost:
            return  # all calls would wait for it; without it Ray ends what is left by itself
        for actor in self._living.values():
            actor.kill()
        if self._is_ours:
            self._ray.shutdown()

    @property
    def most(self) -> int:
        """How many there may be at once: nodes leave a cluster and come to it.

        Raises:
            RetainError: If the head of the cluster is gone.
        """
        self._head.look()
        if self._head.is_lost:
            return 0  # whatever asks for it would wait
        if time.monotonic() - self._counted_at > COUNT_SECONDS:
            self._counted_at = time.monotonic()
            total = sum(map(self._share.fits, self._nodes()))
            self._most = max(1, total if self._jobs is None else min(self._jobs, total))
        return self._most

    def _nodes(self) -> list[Mapping[str, float]]:
        """What each node has."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def hire(self) -> "Actor":
        """Ask for one; it says ``Ready`` once the cluster has found it a place."""
        hands = self._ray.remote(Hands).options(
            num_cpus=self._share.cpus,
            num_gpus=self._share.gpus,
            memory=self._share.memory_bytes or None,
            max_concurrency=3,
            scheduling_strategy="SPREAD",
        )
        actor = Actor(self._ray, hands.remote(os.getcwd(), self._share.cpus), len(self._living))
        self._living[actor.begin(installed_versions(), self._assignment)] = actor
        return actor

    def listen(self, seconds: float) -> Iterator[tuple["Actor", Told]]:
        """What the workers tell, waiting for it so long at most."""
        if not self._living:
            time.sleep(seconds)
            return
        wait = self._ray.wait
        some, _ = wait(list(self._living), num_returns=1, timeout=seconds)
        if not some:
            return
        told, _ = wait(list(self._living), num_returns=len(self._living), timeout=0)
        for reference in told:
            actor = self._living.pop(reference)
            try:
                found: list[Told] = self._ray.get(reference)
                actor.check()
            except self._ray.exceptions.RayError as error:
                actor.kill()
                found = [_end_of(error)]
            for one in found:
                if isinstance(one, Ready):
                    actor.name = f"Ray actor, {one.name}"
                yield actor, one
            if not any(isinstance(one, Gone | Refused) for one in found):
                self._living[actor.listen()] = actor


class Actor:
    """A worker as its leader sees it.

    Args:
        ray: The library.
        handle: Of the actor.
        number: Among the living, for a name until it has told its own.

    Attributes:
        name: For people.
    """

    def __init__(self, ray: Any, handle: Any, number: int) -> None:
        self.name = f"Ray actor {number}"
        self._ray = ray
        self._handle = handle
        self._given: Any = None

    def begin(self, versions: Mapping[str, str], assignment: Any) -> Any:
        """Reference to what it tells first."""
        return self._handle.begin.remote(versions, assignment)

    def listen(self) -> Any:
        """Reference to what it tells next."""
        return self._handle.tell.remote()

    def give(self, fingerprint: str) -> None:
        """Have it carry out a step."""
        self._given = self._handle.give.remote(fingerprint)

    def check(self) -> None:
        """See that what it was given arrived: a network that breaks off may lose that alone.

        Raises:
            RayError: If it did not.
        """
        if self._given is not None and self._ray.wait([self._given], timeout=0)[0]:
            self._ray.get(self._given)
            self._given = None

    def stop(self) -> None:
        """Have the running step save and leave."""
        self._handle.stop.remote()

    def kill(self) -> None:
        """End it at once."""
        self._ray.kill(self._handle)


def divide(
    nodes: Sequence[Mapping[str, float]], jobs: int | None, memory_bytes: int
) -> tuple[Share, int]:
    """What a worker takes of its node, and how many there may be.

    With GPUs a worker has one; without, it has the CPUs of ``OMP_NUM_THREADS`` or else those of the
    smallest node, or fewer where so many ``jobs`` fit only then.

    Args:
        nodes: What each has, by Ray's names.
        jobs: How many there shall be at once; None: as many as fit.
        memory_bytes: Of the largest step.

    Raises:
        RetainError: If no node has room for one.
    """
    gpus = 1 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0
    usable = [node for node in nodes if node.get("GPU", 0) >= gpus and node.get("CPU", 0) >= 1]
    per_worker = [int(node["CPU"] // max(1, node.get("GPU", 0))) for node in usable]
    most_cpus = set_threads() or max(1, min(per_worker, default=1))
    least_cpus = most_cpus if set_threads() or jobs is None else 1
    memory_bytes = 0 if gpus else memory_bytes
    share, total = Share(most_cpus, gpus, memory_bytes), 0
    for cpus in range(most_cpus, least_cpus - 1, -1):
        share = Share(cpus, gpus, memory_bytes)
        total = sum(map(share.fits, usable))
        if jobs is None or total >= jobs:
            break
    if not total:
        has = "\n".join(f"  {_told(node)}" for node in nodes) or "  no node"
        raise RetainError(
            f"the Ray cluster has no node for a step that takes {share}. It has:\n{has}\n"
            "Add a larger node, or let a step take less: a smaller max_length, "
            "gradient_checkpointing, tuning: lora."
        )
    return share, total if jobs is None else min(jobs, total)


def _told(node: Mapping[str, float]) -> str:
    gpus = f", {node['GPU']:.0f} GPU(s)" if node.get("GPU") else ""
    return f"{node.get('CPU', 0):.0f} CPU(s){gpus}, {megabytes(int(node.get('memory', 0)))}"


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise RetainError(f"--on ray: Ray is not installed. {INSTALL}") from error
    return ray


def _end_of(error: Exception) -> Told:
    """Why an actor is no more, or cannot be."""
    lines = [line.strip() for line in str(error).strip().split("\n")]
    for line in lines[::-1]:
        if line.startswith(("ModuleNotFoundError", "ImportError")):
            return Refused(f"a Ray worker cannot import what it needs: {line}. {INSTALL} there")
    return Gone(lines[-1][:MAX_REASON])


# ---------------------------------------------------------------- in the worker


class Hands:
    """The actor: carries out steps in a thread of its own, so that it can be told to stop.

    Args:
        folder: The leader's working folder.
        num_threads: Its share of the node's.
    """

    def __init__(self, folder: str, num_threads: int) -> None:
        os.environ |= {THREADS: str(num_threads), **NO_BARS}  # read when libraries are loaded
        self._folder = Path(folder)
        self._told: SimpleQueue[Told] = SimpleQueue()
        self._todo: SimpleQueue[str] = SimpleQueue()
        self._worker: Worker | None = None
        self._open = ExitStack()

    def begin(self, versions: Mapping[str, str], assignment: bytes) -> list[Told]:
        """Make ready, or refuse.

        Args:
            versions: Of the leader.
            assignment: Pickled.
        """
        here = socket.gethostname()
        own = installed_versions()
        if unlike := [name for name in SAME if own.get(name) != versions.get(name)]:
            each = ", ".join(f"{one} {own.get(one)} instead of {versions[one]}" for one in unlike)
            return [Refused(f"{here}: has {each}; install the same on every node")]
        if not self._folder.is_dir():
            return [Refused(f"{here}: does not see {self._folder}; every node must ({SHARED})")]
        os.chdir(self._folder)
        known: Assignment = pickle.loads(assignment)
        if not known.root.is_dir():
            return [Refused(f"{here}: does not see {known.root}; every node must ({SHARED})")]
        self._worker = Worker(known, self._told.put)
        self._open.enter_context(self._worker.in_use())
        threading.Thread(target=self._work, args=(self._worker,), daemon=True).start()
        return [ready()]

    def give(self, fingerprint: str) -> None:
        """Carry out a step."""
        self._todo.put(fingerprint)

    def tell(self) -> list[Told]:
        """What happened since, waiting a little for something."""
        found: list[Told] = []
        try:
            found.append(self._told.get(timeout=TALK_SECONDS))
            while True:
                found.append(self._told.get_nowait())
        except Empty:
            return found

    def stop(self) -> None:
        """Let the running step save and leave."""
        if self._worker is not None:
            self._worker.stop.set()

    def _work(self, worker: Worker) -> None:
        while True:
            worker.carry_out(self._todo.get())
