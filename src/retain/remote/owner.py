"""One owner of a run among all machines, by objects that are put only where there is none.

::

    <run>/.owner/<number>.json    who has the run, and how often it has said that it lives

The claim with the highest number is the one that counts; a new one is the next number, which one
machine alone can put. Who has it puts its claim again every few seconds; one that stays as it is
for a minute, by the clock of the machine that watches, belongs to a machine that is gone. Clocks of
different machines are never compared.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retain.errors import StoreError
from retain.remote.objects import NOT_CONDITIONAL, MissingObjectError, Objects
from retain.steps.lock import Holder, LockHeldError

OWNER = ".owner"
BEAT_SECONDS = 10.0
WATCH_SECONDS = 60.0
"""A claim that does not change for so long belongs to nobody."""
LOOK_SECONDS = 2.0


@dataclass
class Claim:
    """Who has a run.

    Attributes:
        host: Name of the machine.
        pid: Of the process.
        folder: Of the machine's own store: two drivers of one folder exclude each other by a lock.
        since: When it began, by its own clock; for people.
        token: Tells it from all others.
        beats: How often it said that it lives.
        released: Whether it has ended.
    """

    host: str
    pid: int
    folder: str
    since: str
    token: str
    beats: int = 0
    released: bool = False

    def content(self) -> bytes:
        """As it is put."""
        return json.dumps(asdict(self)).encode()


@contextmanager
def owning(
    objects: Objects, run: str, folder: Path, say: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Be the only machine that works on a run; the lock of the run's folder is held already.

    Args:
        objects: The store.
        run: Name of the run.
        folder: The run's folder on this machine.
        say: Told what is waited for.

    Yields:
        A function that raises ``StoreError`` if another machine took the run over meanwhile.

    Raises:
        LockHeldError: If another machine has it and lives.
        StoreError: If the store cannot put an object only where there is none, or be written.
    """
    place = f"{run}/{OWNER}"
    mine = Claim(
        host=socket.gethostname(),
        pid=os.getpid(),
        folder=str(folder.resolve()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        token=secrets.token_hex(8),
    )
    number = _take(objects, place, mine, say)
    name = f"{place}/{number}.json"

    def check() -> None:
        newest = max(_numbers(objects, place), default=number)
        if newest != number:
            raise StoreError(
                f"{objects.url}/{run}: was taken over by {_who(_read(objects, place, newest))} "
                "while this machine could not be heard. Its steps are in the store; the other "
                "machine writes the report."
            )

    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(objects, name, mine, over), daemon=True)
    beat.start()
    try:
        yield check
    finally:
        over.set()
        beat.join()
        mine.released = True
        _say_again(objects, name, mine)


def _take(objects: Objects, place: str, mine: Claim, say: Callable[[str], None]) -> int:
    """Put the next claim; its number."""
    while True:
        numbers = _numbers(objects, place)
        newest = max(numbers, default=0)
        if newest:
            _wait_for_end(objects, place, newest, mine, say)
        name = f"{place}/{newest + 1}.json"
        if not objects.create(name, mine.content()):
            continue
        if objects.create(name, b"only where there is none"):
            raise StoreError(f"{objects.url}: {NOT_CONDITIONAL}")
        if max(_numbers(objects, place), default=0) == newest + 1:
            objects.remove(f"{place}/{number}.json" for number in numbers)
            return newest + 1
        objects.remove([name])  # a number that others had already left behind


def _wait_for_end(
    objects: Objects, place: str, number: int, mine: Claim, say: Callable[[str], None]
) -> None:
    """Return once the claim is released, or its owner is known to be gone."""
    first = _read(objects, place, number)
    if first is None or first["released"] or _same_folder(first, mine):
        return
    what = f"{objects.url}/{place.partition('/')[0]}"
    say(f"{what}: {_who(first)} has it; looking for {WATCH_SECONDS:.0f} s whether it lives")
    end = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        now = _read(objects, place, number)
        if now is None or now["released"]:
            return
        if now["beats"] != first["beats"]:
            holder = Holder(int(now["pid"]), str(now["host"]), str(now["since"]))
            raise LockHeldError(what, holder)
    say(f"{what}: {_who(first)} said nothing for {WATCH_SECONDS:.0f} s; taken over")


def _same_folder(claim: dict[str, Any], mine: Claim) -> bool:
    """Whether it is of a process of this folder, whose lock is ours now: it has ended."""
    return (claim["host"], claim["folder"]) == (mine.host, mine.folder)


def _beat(objects: Objects, name: str, mine: Claim, over: threading.Event) -> None:
    while not over.wait(BEAT_SECONDS):
        mine.beats += 1
        _say_again(objects, name, mine)


def _say_again(objects: Objects, name: str, mine: Claim) -> None:
    """Put a claim as it is now; without an answer another machine may take the run over."""
    try:
        objects.put(name, mine.content())
    except StoreError as error:
        if objects.journal is not None:
            objects.journal.event("owner not heard", reason=str(error))


def _numbers(objects: Objects, place: str) -> list[int]:
    names = objects.sizes(place)
    return [int(stem) for name in names if (stem := name.removesuffix(".json")).isdigit()]


def _read(objects: Objects, place: str, number: int) -> dict[str, Any] | None:
    """A claim; None if it is gone or no claim."""
    try:
        found = json.loads(objects.get(f"{place}/{number}.json"))
        return asdict(Claim(**found))
    except (MissingObjectError, ValueError, TypeError):
        return None


def _who(claim: dict[str, Any] | None) -> str:
    if claim is None:
        return "another machine"
    return f"process {claim['pid']} on {claim['host']} since {claim['since']}"
