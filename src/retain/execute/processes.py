"""Workers that are processes of this machine, each told over a socket of its own.

They are started anew, not forked: a fork of a process that has computed with threads or a GPU may
hang. A worker whose leader dies saves its step and leaves; the leader hears at once of one that
is killed, since its socket closes.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any

from retain.errors import RetainError
from retain.execute.signals import EXIT_CODE, GRACE_SECONDS
from retain.execute.told import Gone, Said, Told
from retain.execute.worker import Assignment, Worker, ready

THREADS = "OMP_NUM_THREADS"
GPUS = "CUDA_VISIBLE_DEVICES"
NO_BARS = {"TQDM_DISABLE": "1"}
"""Bars of libraries are drawn for a terminal; what a worker prints is passed on line by line."""
LAST_WORDS = 5
"""Lines of what a worker printed that are told with its death."""
END_SECONDS = 5.0
STOP, END = "stop", "end"


class Process:
    """A worker as its leader sees it.

    Args:
        assignment: What it is told once, pickled.
        environment: Variables it gets besides the leader's.

    Attributes:
        name: For people.
        connection: Where it tells; a reader waits for it.
        output: What it prints; None once it has closed that.
    """

    def __init__(self, assignment: bytes, environment: Mapping[str, str]) -> None:
        self.connection, theirs = Pipe()
        begin = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from retain.execute.processes import main; main({theirs.fileno()})"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", begin],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env={**os.environ, **environment},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.output = self._process.stdout
        assert self.output is not None
        os.set_blocking(self.output.fileno(), False)
        self.name = f"process {self._process.pid}"
        self._last_words: list[str] = []
        with suppress(BrokenPipeError, ConnectionResetError):  # its death is heard of as such
            self.connection.send_bytes(assignment)

    def give(self, fingerprint: str) -> None:
        """Have it carry out a step."""
        self._say(fingerprint)

    def stop(self) -> None:
        """Have the running step save and leave."""
        self._say(STOP)

    def end(self) -> None:
        """Have it leave when it has nothing more to do."""
        self._say(END)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def heard(self) -> Iterator[Told]:
        """What it told since; ``Gone`` is the last."""
        try:
            while self.connection.poll():
                yield self.connection.recv()
        except (EOFError, OSError):
            self.wait(END_SECONDS)
            yield from self.printed()
            yield Gone(self._end())

    def printed(self) -> Iterator[Told]:
        """What it, or a library in it, printed since."""
        while self.output is not None and (text := self.output.read(65536)) is not None:
            if not text:
                self.output.close()
                self.output = None
                return
            lines = text.decode("utf-8", "replace").rstrip("\n").split("\n")
            self._last_words = [*self._last_words, *lines][-LAST_WORDS:]
            yield Said("\n".join(lines))

    def wait(self, seconds: float) -> None:
        """See it end, within so many seconds."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Give back what it took here; it has ended."""
        self.connection.close()
        if self.output is not None:
            self.output.close()

    def _say(self, word: str) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # its death is heard of as such
            self.connection.send(word)

    def _end(self) -> str:
        """How it ended, and what it printed last."""
        code = self._process.returncode
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if not self._last_words:
            return reason
        return "\n".join([f"{reason}; it printed last:", *self._last_words])


class Processes:
    """Processes of this machine as workers; leaving the block ends them.

    Args:
        assignment: What each is told once.
        most: How many there may be at once.

    Attributes:
        most: As given.

    Raises:
        RetainError: If there are fewer GPUs than workers.
    """

    def __init__(self, assignment: Assignment, most: int) -> None:
        self.most = most
        self._gpus = visible_gpus()
        if self._gpus and most > len(self._gpus):
            raise RetainError(
                f"--jobs {most}: this machine shows {len(self._gpus)} GPU(s), and each worker has "
                f"one to itself; give --jobs {len(self._gpus)} or fewer"
            )
        self._threads = threads_each(most)
        self._assignment = pickle.dumps(assignment)
        self._living: dict[Process, str] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._living:
            process.stop()
            process.end()
        deadline = time.monotonic() + (END_SECONDS if error is None else GRACE_SECONDS)
        for process in self._living:
            process.wait(deadline - time.monotonic())
            process.close()
        self._living.clear()

    def hire(self) -> Process:
        """Start one; it says ``Ready`` when it can take a step."""
        environment = {THREADS: str(self._threads), **NO_BARS}
        taken = set(self._living.values())
        gpu = next((one for one in self._gpus if one not in taken), "")
        if gpu:
            environment[GPUS] = gpu
        process = Process(self._assignment, environment)
        self._living[process] = gpu
        return process

    def listen(self, seconds: float) -> Iterator[tuple[Process, Told]]:
        """What the workers tell, waiting for it so long at most."""
        talking: dict[Any, Process] = {one.connection: one for one in self._living}
        printing: dict[Any, Process] = {
            one.output.fileno(): one for one in self._living if one.output is not None
        }
        found = wait([*talking, *printing], seconds)
        for one in found:
            if one in printing:
                process = printing[one]
                yield from ((process, told) for told in process.printed())
        for one in found:
            if one in talking:
                process = talking[one]
                for told in process.heard():
                    if isinstance(told, Gone):
                        del self._living[process]
                        process.close()
                    yield process, told


def threads_each(most: int) -> int:
    """Threads of each of so many workers: what the user set for a process, or a fair part."""
    return set_threads() or max(1, num_cores() // most)


def set_threads() -> int:
    """Threads that the user set for every process; 0 if he did not."""
    first = os.environ.get(THREADS, "").partition(",")[0]
    return int(first) if first.isdigit() else 0


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """What tells each GPU from the others, without loading torch; none on most machines."""
    if GPUS in os.environ:
        return [one for one in os.environ[GPUS].split(",") if one.strip()]
    return [str(number) for number, _ in enumerate(sorted(Path("/dev").glob("nvidia[0-9]*")))]


# ---------------------------------------------------------------- in the worker


def main(descriptor: int) -> None:
    """What a worker process does from its first to its last line.

    Args:
        descriptor: Its end of the socket.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal
    connection, lock = Connection(descriptor), threading.Lock()

    def tell(told: Told) -> None:
        with lock, suppress(BrokenPipeError, ConnectionResetError):  # `_obey` hears of it too
            connection.send(told)

    try:
        assignment = pickle.loads(connection.recv_bytes())
    except EOFError:
        return
    worker = Worker(assignment, tell)
    todo: SimpleQueue[str | None] = SimpleQueue()

    def terminate(number: int, frame: FrameType | None) -> None:
        worker.stop.set()
        todo.put(None)

    signal.signal(signal.SIGTERM, terminate)
    threading.Thread(target=_obey, args=(connection, worker, todo), daemon=True).start()
    with worker.in_use():
        tell(ready())
        while (fingerprint := todo.get()) is not None:
            worker.carry_out(fingerprint)


def _obey(connection: Connection, worker: Worker, todo: "SimpleQueue[str | None]") -> None:
    """Take the leader's words; without a leader, leave as on a signal."""
    try:
        while True:
            match connection.recv():
                case "stop":
                    worker.stop.set()
                case "end":
                    todo.put(None)
                case fingerprint:
                    todo.put(fingerprint)
    except (EOFError, OSError):
        patience = 0.0 if worker.stop.is_set() else GRACE_SECONDS
        worker.stop.set()
        todo.put(None)
        time.sleep(patience)
        os._exit(EXIT_CODE)
