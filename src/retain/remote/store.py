"""A store of this machine in front of one that several machines share.

A step is computed and finished here, as ever, and then sent; one that another machine finished is
fetched when it is opened: a single file by itself, anything else as a whole step, which takes its
place here by the local store's own protocol. Beside what the local store holds::

    .steps/.fetched/<kind>-<16 hex>/   single files of steps that are not here, each checked
    .steps/.locks/use-<key>.lock       shared by whoever reads a step; who removes it needs it alone
"""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from retain.errors import StoreError
from retain.model.adapter_folder import BASE
from retain.remote.objects import Objects
from retain.remote.reads import read_by
from retain.remote.shelf import AlteredError, Shelf, Stored
from retain.steps.durable import (
    TEMPORARY,
    durable_folder,
    make_folder,
    publish,
    remove_tree,
    writing,
)
from retain.steps.entries import Entry, folder_bytes
from retain.steps.fingerprint import Json
from retain.steps.journal import Journal
from retain.steps.lock import Holder, LockHeldError
from retain.steps.step import KIND, NUM_FOLDER_DIGITS, Step
from retain.steps.store import DamagedStepError, Store
from retain.steps.work import Work

FETCHED = ".fetched"


def _patiently(holder: Holder) -> None:
    """Wait for whoever fetches the same."""


class RemoteStore(Store):
    """Finished steps of several machines; making the object asks nothing of the store.

    Args:
        root: The ``.steps`` folder of this machine, which nothing else uses.
        objects: The store.
        limit_bytes: What this machine may keep of steps that the store has too.
    """

    def __init__(self, root: Path | str, objects: Objects, limit_bytes: float) -> None:
        super().__init__(root)
        self.objects = objects
        self.limit_bytes = limit_bytes
        self._shelf = Shelf(objects)
        self._listed: set[str] | None = None
        self._read: dict[str, Stored] = {}
        self._altered: set[str] = set()

    def opener(self) -> Callable[[Path], Store]:
        """What opens it in another process, given its folder."""
        return partial(open_remote, self.objects.url, self.limit_bytes)

    # ------------------------------------------------------------ what is there

    def path(self, step: Step) -> Path:
        """Where the step's result is on this machine, or will be."""
        found = super().path(step)
        if found.exists() or step.key not in self._keys():
            return found
        stored = self._stored(step)
        return found if stored is None else self.root / stored.folder

    def finished(self, step: Step) -> bool:
        """Whether the result is here, or in the store as it was listed when first asked."""
        return step.key in self._keys() or super().finished(step)

    def record(self, step: Step) -> dict[str, Any]:
        """What a finished step wrote down.

        Raises:
            DamagedStepError: If it is neither here nor in the store.
        """
        if not super().path(step).exists() and (stored := self._stored(step)) is not None:
            record: dict[str, Any] = json.loads(stored.record)
            return record
        return super().record(step)

    def holds(self, step: Step, name: str) -> bool:
        """Whether a finished step has a file of this name."""
        if super().path(step).exists():
            return super().holds(step, name)
        stored = self._stored(step)
        return stored is not None and name in stored.files

    def open(self, step: Step, name: str = "") -> Path:
        """The path of a verified file or folder, fetched if it is not here.

        Raises:
            DamagedStepError: If the step is neither here nor in the store, or altered in both.
            StoreError: As the local store; or if the store cannot be read.
        """
        here = super().path(step)
        if here.exists():
            try:
                return self._touched(here, super().open(step, name))
            except DamagedStepError:
                if self._stored(step) is None:
                    raise
        stored = self._stored(step)
        if stored is None:
            raise DamagedStepError(
                step, f"{step.folder}: is neither here nor in {self.objects.url}"
            )
        try:
            if name in stored.files:
                return self._one_file(stored, name)
            self._whole(stored)
        except AlteredError as error:
            raise self._dropped(step, stored, error) from error
        return super().open(step, name)

    def entries(self) -> list[Entry]:
        """All finished steps of the store, and what is only here."""
        here = {entry.folder: entry for entry in super().entries()}
        for key in sorted(self._keys()):
            stored = self._known(key)
            if stored is not None and stored.folder not in here:
                num_bytes = sum(int(one["bytes"]) for one in stored.files.values())
                kind = stored.folder.partition("/")[0]
                record = json.loads(stored.record)
                here[stored.folder] = Entry(stored.folder, kind, record, num_bytes)
        return [here[folder] for folder in sorted(here)]

    def verify(self, step_or_folder: Step | str) -> list[str]:
        """All faults of a step that is here; one that is in the store is fetched for it."""
        if isinstance(step_or_folder, str) and not (self.root / step_or_folder).exists():
            stored = self._known(_key(step_or_folder))
            if stored is None:
                return ["is not in the store"]
            try:
                self._whole(stored)
            except AlteredError as error:
                return [str(error)]
        return super().verify(step_or_folder)

    def fetch_folder(self, place: Path) -> bool:
        """Fetch the step that a folder or file below the root is of; whether there is such."""
        try:
            kind, name, *_ = Path(os.path.relpath(place, self.root)).parts
        except ValueError:
            return False
        if not KIND.fullmatch(kind):  # not below the root
            return False
        stored = self._known(_key(f"{kind}/{name}"))
        if stored is None or stored.folder != f"{kind}/{name}":
            return False
        self._whole(stored)
        return True

    # ------------------------------------------------------------ computing and sending

    @contextmanager
    def lock(self, step: Step, wait: Callable[[Holder], None] | None = None) -> Iterator[None]:
        """As the local store's, of this machine alone; then looks what other machines finished."""
        is_first = step.key not in self._held
        with super().lock(step, wait):
            if is_first and not self.finished(step):
                try:
                    self._known(step.key)
                except StoreError as error:  # it is computed here, whatever others did
                    self._event("store not asked", step=step.folder, reason=str(error))
            yield

    @contextmanager
    def begin(self, step: Step, journal: Journal | None = None, **more: Any) -> Iterator[Work]:
        """As the local store's; what it reads stays here meanwhile, and its result is sent.

        A store that does not answer is no reason to stop computing: that is journalled, and
        ``send_all`` sends what is left.
        """
        if journal is not None:
            self.objects.journal = journal
        with ExitStack() as stack:
            for one in read_by(step):
                stack.enter_context(self._using(one.key))
            with super().begin(step, journal, **more) as work:
                yield work
        try:
            self._send(step)
        except DamagedStepError:
            raise
        except StoreError as error:
            if journal is not None:
                journal.event("step not sent", step=step.folder, reason=str(error))
        self.evict()

    def send_all(self, steps: Iterable[Step]) -> int:
        """Send what is finished here and not in the store; how many were.

        Raises:
            StoreError: If the store cannot be written.
        """
        self._listed = self._shelf.keys() - self._altered
        missing = [step for step in steps if step.key not in self._listed and self._is_here(step)]
        for step in missing:
            self._send(step)
        return len(missing)

    def evict(self) -> None:
        """Remove what was used longest ago and is in the store too, until it is below the limit."""
        if self.limit_bytes == float("inf"):
            return
        with suppress(LockHeldError), self._holding("reading", what="the steps of a report"):
            kept = [self.root / entry.folder for entry in super().entries()]
            kept += sorted((self.root / FETCHED).glob("*"))
            sizes = {folder: folder_bytes(folder) for folder in kept}
            total = sum(sizes.values())
            for folder in sorted(kept, key=_last_use):
                if total <= self.limit_bytes:
                    return
                if self._let_go(folder):
                    total -= sizes[folder]

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold while many steps are read outside of steps: nothing is evicted."""
        with (
            self.in_use(),
            self._holding("reading", what="the steps", shared=True, wait=_patiently),
        ):
            yield

    def _is_here(self, step: Step) -> bool:
        return super().path(step).exists() and super().finished(step)

    def _send(self, step: Step) -> None:
        """Send a step that is here; where another machine was first, its result stands."""
        folder = super().open(step)
        is_first = self._shelf.send(step.key, folder)
        self._altered.discard(step.key)
        self._keys().add(step.key)
        if is_first:
            self._event("step sent", step=step.folder, bytes=folder_bytes(folder))
        else:
            self._event("step was there", step=step.folder)
            self._let_go(folder)

    def _let_go(self, folder: Path) -> bool:
        """Remove a folder that the store has too, unless somebody reads it."""
        is_whole = folder.parent.name != FETCHED
        key = _key(f"{folder.parent.name}/{folder.name}") if is_whole else folder.name
        if key not in self._keys() or self._shelf.read(key) is None:
            return False
        with suppress(LockHeldError), ExitStack() as stack:
            stack.enter_context(self._holding(f"use-{key}", what=key))
            if key not in self._held:
                stack.enter_context(self._holding(key, what=key))
            self.discard(folder)
            return True
        return False

    def _using(self, key: str) -> Any:
        return self._holding(f"use-{key}", what=key, shared=True, wait=_patiently)

    # ------------------------------------------------------------ fetching

    def _keys(self) -> set[str]:
        """Keys of the steps that the store has: listed once, and what was seen since."""
        if self._listed is None:
            self._listed = self._shelf.keys()
        return self._listed

    def _stored(self, step: Step) -> Stored | None:
        """What the store has of a step."""
        stored = self._known(step.key)
        same = stored is not None and stored.manifest["fingerprint"] == step.fingerprint
        return stored if same else None

    def _known(self, key: str) -> Stored | None:
        if key in self._altered:
            return None
        if key not in self._read:
            stored = self._shelf.read(key)
            if stored is None:
                self._keys().discard(key)
                return None
            self._read[key] = stored
            self._keys().add(key)
        return self._read[key]

    def _one_file(self, stored: Stored, name: str) -> Path:
        """A single file of a step that is not here."""
        folder = self.root / FETCHED / stored.key
        with self._alone(stored):
            if self._fault(folder, name, stored.files[name]):
                with self._building(stored) as building:
                    self._shelf.fetch(stored, [name], building)
                    with writing(folder):
                        make_folder((folder / name).parent)
                        publish(building / name, folder / name)
                self._event("file fetched", step=stored.folder, file=name)
        return self._touched(folder, folder / name)

    def _whole(self, stored: Stored) -> None:
        """A step of the store takes its place here, and the bases of its adapters."""
        final = self.root / stored.folder
        with self._alone(stored):
            if not final.exists():
                head = {name: stored.manifest[name] for name in ("kind", "fingerprint")}
                building = self._temporary(stored.key)
                with durable_folder(final, temporary=building, head=head):
                    self._shelf.fetch(stored, stored.files, building)
                self._trust(final)
                self._event("step fetched", step=stored.folder, bytes=folder_bytes(final))
        for name in stored.files:
            if name.rpartition("/")[2] == BASE:
                memo = json.loads((final / name).read_bytes())
                base = (final / name).parent / str(memo["relative"])
                if not base.exists():
                    self.fetch_folder(Path(os.path.normpath(base)))

    @contextmanager
    def _building(self, stored: Stored) -> Iterator[Path]:
        building = self._temporary(stored.key)
        with writing(building):
            make_folder(building)
        try:
            yield building
        finally:
            remove_tree(building)

    def _temporary(self, key: str) -> Path:
        return self.root / TEMPORARY / f"{key}.{secrets.token_hex(8)}"

    @contextmanager
    def _alone(self, stored: Stored) -> Iterator[None]:
        """Be the only process of this machine to fetch a step."""
        if stored.key in self._held:
            yield
            return
        with self._holding(stored.key, what=stored.folder, wait=_patiently):
            yield

    def _dropped(self, step: Step, stored: Stored, error: AlteredError) -> DamagedStepError:
        """A step of the store is not what was put there: no machine shall meet it again."""
        self._altered.add(step.key)
        self._read.pop(step.key, None)
        self._keys().discard(step.key)
        what = "It was taken out"
        try:
            self._shelf.drop(stored)
        except StoreError as failed:
            what = f"It could not be taken out ({failed})"
        return DamagedStepError(
            step,
            f"{self.objects.url}: {stored.folder}: damaged: {error}. {what}; the same command "
            "computes it again.",
        )

    def _touched(self, folder: Path, path: Path) -> Path:
        """The path; its folder was used just now."""
        with suppress(OSError):
            os.utime(folder)
        return path

    def _event(self, kind: str, **fields: Json) -> None:
        if self.objects.journal is not None:
            self.objects.journal.event(kind, **fields)


def open_remote(url: str, limit_bytes: float, root: Path) -> RemoteStore:
    """A store of this machine in front of the one at an address."""
    return RemoteStore(root, Objects(url), limit_bytes)


def _key(folder: str) -> str:
    """The key of ``kind/name-<16 hex>``."""
    kind, _, name = folder.partition("/")
    return f"{kind}-{name[-NUM_FOLDER_DIGITS:]}"


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
