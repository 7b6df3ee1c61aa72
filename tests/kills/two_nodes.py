"""A Ray cluster of two nodes on one machine: each in a network namespace of its own, if it may be.

    driver, head (its tables and a worker)  --- eth0  switch  eth0 ---  second (a worker)

Where namespaces are not allowed (no root, another system) both are on the loopback interface, and
cannot be cut off from each other. Only processes that were started here are ever killed.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

NETWORK = "198.18.7"  # set aside for tests of networks; nothing leaves the namespaces
LOOPBACK = {"head": "127.0.0.1", "second": "127.0.0.2"}
OWN = {"head": f"{NETWORK}.1", "second": f"{NETWORK}.2"}
START_SECONDS = 240.0
ACTOR = "ray::Hands"
UP = "Ray runtime started"
_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_AUTH_MODE": "disabled",  # whatever token its user keeps for clusters of his own
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # of 15 a worker hardly moves beside other work
}


class Namespaces:
    """Three of them: one for each node, and one with the switch between them.

    Raises:
        OSError: If they are not allowed here, or there is no ``ip``.
    """

    def __init__(self) -> None:
        self._name = f"retain{os.getpid()}"
        try:
            for one in ("switch", *OWN):
                _ip("netns", "add", f"{self._name}{one}")
            _ip("-n", f"{self._name}switch", "link", "add", "switch", "type", "bridge")
            _ip("-n", f"{self._name}switch", "link", "set", "switch", "up")
            for node, address in OWN.items():
                self._connect(node, address)
        except (OSError, subprocess.CalledProcessError) as error:
            self.remove()
            raise OSError(getattr(error, "stderr", "") or str(error)) from error

    def _connect(self, node: str, address: str) -> None:
        switch, own = f"{self._name}switch", f"{self._name}{node}"
        pair = ("type", "veth", "peer", "name", "eth0", "netns", own)
        _ip("-n", switch, "link", "add", node, *pair)
        _ip("-n", switch, "link", "set", node, "master", "switch", "up")
        _ip("-n", own, "address", "add", f"{address}/24", "dev", "eth0")
        for link in ("eth0", "lo"):
            _ip("-n", own, "link", "set", link, "up")

    def inside(self, node: str) -> list[str]:
        """What a command begins with that shall run there."""
        return ["ip", "netns", "exec", f"{self._name}{node}"]

    def cut(self) -> None:
        """Whatever one node sends to the other is lost; neither is told so."""
        _ip("-n", f"{self._name}switch", "link", "set", "second", "nomaster")

    def mend(self) -> None:
        """Undo ``cut``."""
        _ip("-n", f"{self._name}switch", "link", "set", "second", "master", "switch")

    def remove(self) -> None:
        """Take them down; what runs in them has ended."""
        for one in ("switch", *OWN):
            with suppress(OSError, subprocess.CalledProcessError):
                _ip("netns", "delete", f"{self._name}{one}")


class TwoNodes:
    """The cluster; leaving the block kills all of it.

    Args:
        on_loopback: Whether to do without namespaces even where they are allowed.

    Attributes:
        why_loopback: Why there are no namespaces; empty if there are.
        address: Of the head, for ``RAY_ADDRESS``.
    """

    def __init__(self, *, on_loopback: bool = False) -> None:
        self._namespaces: Namespaces | None = None
        self.why_loopback = "asked for" if on_loopback else ""
        if not on_loopback:
            try:
                self._namespaces = Namespaces()
            except OSError as error:
                self.why_loopback = str(error).strip()
        self._places = LOOPBACK if self._namespaces is None else OWN
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: names of sockets are
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.address = f"{self._places['head']}:{_free_port()}"

    def __enter__(self) -> "TwoNodes":
        try:
            for node in self._places:
                self.start(node)
                self._wait_for(node)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for node in list(self._nodes):
            self.kill(node)
        if self._namespaces is not None:
            self._namespaces.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, node: str) -> None:
        """Have a node begin, which is not there or no more; it is up some seconds later."""
        address = ["--address", self.address]
        if node == "head":
            port = self.address.rpartition(":")[2]
            address = ["--head", "--port", port, "--temp-dir", str(self._folder)]
            address += ["--include-dashboard=false"]
        options = ["--num-cpus", "1", "--object-store-memory", "100000000", "--block"]
        options += ["--node-ip-address", self._places[node], *address]
        with self._log(node).open("wb") as log:
            self._nodes[node] = self.popen(node, [*_RAY, "start", *options], log)

    def _wait_for(self, node: str) -> None:
        end = time.monotonic() + START_SECONDS
        while UP not in (said := self._log(node).read_text("utf-8", "replace")):
            if self._nodes[node].poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the {node} node of Ray did not start:\n{said}")
            time.sleep(0.2)

    def _log(self, node: str) -> Path:
        return self._folder / f"{node}.log"

    def popen(self, node: str, words: list[str], log: object) -> "subprocess.Popen[bytes]":
        """Start a command where that node is; it is the child itself, no shell around it."""
        inside = [] if self._namespaces is None else self._namespaces.inside(node)
        environment = os.environ | ENVIRONMENT | {"RAY_ADDRESS": self.address}
        return subprocess.Popen(
            [*inside, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,  # type: ignore[arg-type]  # an open file
            stderr=subprocess.STDOUT,
        )

    def kill(self, node: str) -> int:
        """SIGKILL for a node with all its workers; how many processes that were."""
        process = self._nodes.pop(node)
        found = processes(process)
        for one in found:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        psutil.wait_procs(found, 10)
        return len(found)

    def workers(self, node: str) -> list[psutil.Process]:
        """The processes of actors that there are at this moment on a node."""
        found = []
        for one in processes(self._nodes[node]) if node in self._nodes else []:
            with suppress(psutil.Error):
                if " ".join(one.cmdline()).startswith(ACTOR):
                    found.append(one)
        return found

    @property
    def is_whole(self) -> bool:
        """Whether both nodes are up."""
        return len(self._nodes) == len(self._places) and all(
            one.poll() is None and UP in self._log(node).read_text("utf-8", "replace")
            for node, one in self._nodes.items()
        )

    def cut(self) -> None:
        """Lose whatever one node sends to the other."""
        assert self._namespaces is not None, self.why_loopback
        self._namespaces.cut()

    def mend(self) -> None:
        """Undo ``cut``."""
        assert self._namespaces is not None, self.why_loopback
        self._namespaces.mend()


def processes(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """A process and all below it."""
    try:
        one = psutil.Process(process.pid)
        return [one, *one.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
