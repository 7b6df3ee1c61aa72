"""The head of a Ray cluster: how it is reached or started, and whether it still answers."""

import os
import signal
import socket
import threading
import time
from typing import Any

from retain.errors import RetainError
from retain.execute.processes import num_cores

ADDRESS = "RAY_ADDRESS"
REACH_SECONDS = 5.0
STORE_BYTES = 500_000_000
"""Of a cluster started here: nothing but the graph goes through Ray's store."""
LOOK_SECONDS = 1.0
"""Between two looks at whether the head answers."""
HEAD_SECONDS = 30.0
"""Without an answer: it is said what to do, before Ray ends the process after a minute."""


def connect(ray: Any) -> None:
    """To the cluster of ``RAY_ADDRESS``, or to one that is started on this machine.

    Raises:
        RetainError: If it is not reached.
    """
    address = os.environ.get(ADDRESS, "")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if not address or address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of this
            ray.init(
                address="local",
                num_cpus=num_cores(),
                object_store_memory=STORE_BYTES,
                include_dashboard=False,
                logging_level="warning",
            )
        else:
            _check_reached(address)
            ray.init(address=address, logging_level="warning")
    except Exception as error:  # Ray raises ConnectionError, RuntimeError and plain Exception
        where, advice = "could be started on this machine", "`--jobs N` needs none"
        if address:
            where = f"of {ADDRESS}={address}"
            advice = (
                "see that it runs (`ray status`), set RAY_AUTH_MODE=token if it asks for one, "
                f"or unset {ADDRESS} to have one started here"
            )
        raise RetainError(
            f"--on ray: no Ray cluster {where}: {str(error).rstrip('.')}; {advice}."
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there


def _check_reached(address: str) -> None:
    """Ray itself tries for half a minute and more."""
    if address.startswith("ray://"):
        raise ValueError("a ray:// address is of Ray's client; give HOST:PORT of the head node")
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()


class Head:
    """Whether the head of a cluster answers.

    Args:
        address: HOST:PORT.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._looked_at = self._heard_at = time.monotonic()

    @property
    def is_lost(self) -> bool:
        """Whether it did not answer when it was last looked at."""
        return self._looked_at > self._heard_at

    def look(self) -> None:
        """See whether it answers, now and then.

        Raises:
            RetainError: If it has not for long.
        """
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            _check_reached(self._address)
        except OSError as error:
            if now - self._heard_at > HEAD_SECONDS:
                raise RetainError(
                    f"--on ray: the head of the cluster, {self._address}, has not answered for "
                    f"{HEAD_SECONDS:.0f} s ({error}). See that it runs (`ray status`), or start "
                    "the cluster again; the same command goes on from what is saved."
                ) from error
        else:
            self._heard_at = now
