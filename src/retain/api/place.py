"""Where runs and their steps are: a folder, or an object store with a folder of this machine."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from retain.embedded import cache_dir
from retain.errors import RecipeError, StoreError
from retain.execute import own_run
from retain.remote import Objects, RemoteStore, is_address
from retain.remote.owner import owning
from retain.remote.results import fetch_results, merge_journal, send_results
from retain.steps.journal import Journal
from retain.steps.references import REFERENCES
from retain.steps.step import Step, check_name
from retain.steps.store import Store

STEPS = ".steps"
RESOLVED = "recipe.resolved.yaml"
JOURNAL = "journal.jsonl"
READ_AGAIN = (RESOLVED, REFERENCES, "scores.csv", "during.csv")
LIMIT = "RETAIN_CACHE_LIMIT"
DEFAULT_LIMIT = 100e9
CUT = re.compile(r"[a-z][a-z0-9+.-]+:/")
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([MGT])B", re.IGNORECASE)
UNITS = {"M": 1e6, "G": 1e9, "T": 1e12}


class Place:
    """A runs folder of this machine.

    Attributes:
        folder: It.
        store: Its finished steps.
        is_remote: Whether other machines see more than this folder.
    """

    is_remote = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / STEPS)

    def __str__(self) -> str:
        return str(self.folder)

    @contextmanager
    def own(self, folder: Path, say: Callable[[str], None]) -> Iterator[None]:
        """Be the only one that works on the run of this folder.

        Raises:
            LockHeldError: If somebody else does.
        """
        with own_run(folder):
            yield

    def fetch(self, name: str) -> None:
        """Have here what a run wrote, if there is such a run."""

    def fetch_all(self) -> None:
        """Have here what every run wrote."""

    def fetch_model(self, folder: Path) -> None:
        """Have here a model folder of a finished step."""

    def reading(self) -> AbstractContextManager[None]:
        """Hold while many steps are read outside of steps."""
        return self.store.in_use()

    def send_head(self, folder: Path, steps: Iterable[Step]) -> None:
        """Let others see what a run is, and which of its steps are finished here."""

    def send(self, folder: Path, steps: Iterable[Step]) -> None:
        """Let others see what a run came to."""


class RemotePlace(Place):
    """Runs in an object store, and the folder of this machine in front of them.

    Args:
        url: ``s3://bucket/prefix``.

    Raises:
        StoreError: As ``Objects``; or if the limit of the cache is no size.
    """

    is_remote = True

    def __init__(self, url: str) -> None:
        self._objects = Objects(url)
        self.url = self._objects.url
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:8]
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", self.url)[:60].strip("-")
        super().__init__(cache_dir() / "runs" / f"{readable}-{digest}")
        self._steps = RemoteStore(self.folder / STEPS, self._objects, cache_limit())
        self.store = self._steps
        self._still_mine: Callable[[], None] = lambda: None

    def __str__(self) -> str:
        return self.url

    @contextmanager
    def own(self, folder: Path, say: Callable[[str], None]) -> Iterator[None]:
        """Be the only one among all machines.

        Raises:
            LockHeldError: If somebody else works on the run.
            StoreError: If the store cannot be written, or cannot tell who was first.
        """
        with own_run(folder), owning(self._objects, folder.name, folder, say) as still_mine:
            self._still_mine = still_mine
            merge_journal(self._objects, folder / JOURNAL)
            self._objects.journal = Journal(folder / JOURNAL)
            yield

    def fetch(self, name: str) -> None:
        """Have here what a run wrote, if there is such a run."""
        folder = self.folder / check_name("run name", name)
        if not self._objects.sizes(name):
            return
        with own_run(folder):
            merge_journal(self._objects, folder / JOURNAL)
            fetch_results(self._objects, folder, _is_read_again)

    def fetch_all(self) -> None:
        """Have here what every run wrote."""
        for name in self._objects.folders():
            if not name.startswith("."):
                self.fetch(name)

    def fetch_model(self, folder: Path) -> None:
        """Have here a model folder of a finished step."""
        if not folder.is_dir():
            self._steps.fetch_folder(Path(os.path.normpath(folder)))

    def reading(self) -> AbstractContextManager[None]:
        """Hold while many steps are read outside of steps: nothing is evicted."""
        return self._steps.reading()

    def send_head(self, folder: Path, steps: Iterable[Step]) -> None:
        """Let others see what a run is, and which of its steps are finished here."""
        for name in (RESOLVED, REFERENCES):
            self._objects.put(f"{folder.name}/{name}", (folder / name).read_bytes())
        self._send_steps(steps)

    def send(self, folder: Path, steps: Iterable[Step]) -> None:
        """Let others see what a run came to.

        Raises:
            StoreError: If another machine took the run over, or the store cannot be written.
        """
        self._send_steps(steps)
        self._still_mine()
        send_results(self._objects, folder)

    def _send_steps(self, steps: Iterable[Step]) -> None:
        with self.store.in_use():
            self._steps.send_all(steps)
            self._steps.evict()


def place_of(runs: str | Path | Place) -> Place:
    """What ``--runs`` means.

    Raises:
        StoreError: If it is an address that cannot be opened.
    """
    if isinstance(runs, Place):
        return runs
    if isinstance(runs, Path) and CUT.match(str(runs)):
        raise StoreError(f"{runs}: give an address as text; a Path cuts it")
    return RemotePlace(str(runs)) if is_address(runs) else Place(Path(runs))


def place_and_folder(run_dir: str | Path) -> tuple[Place, Path]:
    """Where the run of a folder, or of an address, is, and its folder on this machine.

    Raises:
        StoreError: As ``place_of``.
        RecipeError: If an address does not end with the name of a run.
    """
    if not is_address(run_dir):
        return Place(Path(run_dir).parent), Path(run_dir)
    url, _, name = str(run_dir).rstrip("/").rpartition("/")
    place = RemotePlace(url)
    place.fetch(name)
    return place, place.folder / name


def cache_limit() -> float:
    """Bytes that this machine may keep of steps which an object store has too.

    Raises:
        RecipeError: If ``RETAIN_CACHE_LIMIT`` is no size.
    """
    text = os.environ.get(LIMIT, "").strip()
    if not text:
        return DEFAULT_LIMIT
    size = SIZE.fullmatch(text)
    if size is None:
        raise RecipeError(f"{LIMIT}: got '{text}'; give a size, as 200GB")
    return float(size[1]) * UNITS[size[2].upper()]


def _is_read_again(name: str) -> bool:
    return name in READ_AGAIN or name.startswith("models/")
