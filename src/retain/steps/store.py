"""The store of finished steps: a folder each, whole or not there at all, never written to again.

::

    .steps/<kind>/<name>-<16 hex>/     artefacts, record.json, MANIFEST.json
    .steps/.partial/<kind>/<16 hex>/   what a running step keeps across a kill
    .steps/.tmp/                       being written, or being removed
    .steps/.locks/                     who computes what; who uses the store
    .steps/.damaged/                   what was set aside because its content had changed

Reuse looks at presence and sizes. The sha256 is checked when a file is opened for use, once per
process and file. A damaged step is set aside, with an error that names the file: the executor
computes it again, and nothing altered is ever read.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retain.errors import StoreError
from retain.steps import durable, manifest
from retain.steps.durable import TEMPORARY, durable_folder, make_folder, remove_tree, writing
from retain.steps.entries import Entry, folder_bytes, read_entries
from retain.steps.journal import Journal
from retain.steps.lock import Holder, LockHeldError, locked
from retain.steps.record import RECORD, record_text
from retain.steps.step import KIND, NUM_FOLDER_DIGITS, Step
from retain.steps.work import Progress, Work

TRASH = "trash"


class DamagedStepError(StoreError):
    """The result of a step is missing or altered; it has to be computed again."""

    def __init__(self, step: Step, message: str) -> None:
        super().__init__(message)
        self.step = step


class Store:
    """Finished steps below one folder; making the object touches nothing.

    Args:
        root: The ``.steps`` folder of the runs folder.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._verified: set[tuple[str, int, int, int]] = set()
        self._held: set[str] = set()

    def path(self, step: Step) -> Path:
        """Where the step's result is, under whatever name it was first computed, or will be."""
        folder = self.root / step.folder
        if folder.exists():
            return folder
        ending = f"-{step.fingerprint[:NUM_FOLDER_DIGITS]}"
        try:
            names = os.listdir(folder.parent)  # of thousands of steps, faster than a pattern
        except OSError:  # no step of this kind yet
            return folder
        same = [name for name in names if name.endswith(ending) and not name.startswith(".")]
        return folder.parent / min(same) if same else folder

    def opener(self) -> Callable[[Path], "Store"]:
        """What opens it in another process, given its folder."""
        return Store

    def partial(self, step: Step) -> Path:
        """Where the step keeps what survives a kill."""
        return self.root / ".partial" / step.kind / step.fingerprint[:NUM_FOLDER_DIGITS]

    def finished(self, step: Step) -> bool:
        """Whether the result is there, by manifest, presence and sizes."""
        folder = self.path(step)
        content = manifest.read_manifest(folder)
        if content is None or content.get("fingerprint") != step.fingerprint:
            return False
        return not manifest.quick_faults(folder)

    def record(self, step: Step) -> dict[str, Any]:
        """What a finished step wrote down: step, started, seconds, facts, versions.

        Raises:
            DamagedStepError: If it is missing or altered.
        """
        record: dict[str, Any] = json.loads(self.open(step, RECORD).read_bytes())
        return record

    def holds(self, step: Step, name: str) -> bool:
        """Whether a finished step has a file of this name."""
        return (self.path(step) / name).is_file()

    def open(self, step: Step, name: str = "") -> Path:
        """The path of a verified file, or with a folder's name (or none) of that whole folder.

        Raises:
            DamagedStepError: If content is missing or altered; the step was set aside.
            StoreError: If the step has no such file, or the folder holds a file the step did not
                write (which could change what a loader sees).
        """
        folder = self.path(step)
        if not folder.exists():
            raise DamagedStepError(
                step, f"{folder}: is not in the store; run the recipe to compute it"
            )
        content = manifest.read_manifest(folder)
        if content is None or content.get("fingerprint") != step.fingerprint:
            raise self._damaged(
                step, [f"{manifest.MANIFEST} is missing, damaged or another step's"]
            )
        names = manifest.names_below(content, name)
        if not names:
            known = ", ".join(sorted(content["files"]))
            raise StoreError(f"{folder}: the step has no '{name}'. It has: {known}.")
        if strangers := manifest.strangers(folder, content, name):
            raise StoreError(
                f"{folder}: holds {strangers[0]}, which the step did not write. Finished steps are "
                "not to be written to: move that file away."
            )
        entries = content["files"]
        faults = [fault for each in names if (fault := self._fault(folder, each, entries[each]))]
        if faults:
            raise self._damaged(step, faults)
        return folder / name if name else folder

    def verify(self, step_or_folder: Step | str) -> list[str]:
        """All faults of a finished step, every file read; empty if it is as it was stored."""
        if isinstance(step_or_folder, Step):
            folder = self.path(step_or_folder)
        else:
            folder = self._inside(step_or_folder)
        faults = manifest.faults(folder)
        content = manifest.read_manifest(folder) or {"files": {}}
        strange = [f"{name} is not of the step" for name in manifest.strangers(folder, content)]
        return faults + strange

    def entries(self) -> list[Entry]:
        """All folders of the store by kind and name, faulty ones included; reads no artefacts."""
        return read_entries(self.root)

    def remove(self, folder: str) -> int:
        """Remove a finished step, all at once.

        Args:
            folder: As in ``Entry.folder``.

        Returns:
            The bytes it took.

        Raises:
            StoreError: If there is no such step, or somebody computes it at this moment.
        """
        path = self._inside(folder)
        num_bytes = folder_bytes(path)
        key = f"{path.parent.name}-{path.name[-NUM_FOLDER_DIGITS:]}"
        with self._holding(key, what=folder):
            self.discard(path)
        return num_bytes

    def discard(self, path: Path) -> None:
        """Remove a folder of the store: out of sight with one rename, then file by file."""
        trash = self.root / TEMPORARY / f"{TRASH}.{secrets.token_hex(8)}"
        with writing(path):
            make_folder(trash.parent)
            durable.publish(path, trash)
            remove_tree(trash)

    def set_aside(self, folder: Path) -> Path:
        """Move a damaged folder to ``.damaged``, where ``retain clean`` finds it."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        place = self.root / ".damaged" / folder.parent.name
        aside = place / f"{folder.name}.{stamp}-{secrets.token_hex(2)}"
        with writing(folder):
            make_folder(place)
            durable.publish(folder, aside)
        return aside

    @contextmanager
    def lock(self, step: Step, wait: Callable[[Holder], None] | None = None) -> Iterator[None]:
        """Be the only one to compute a step; entering again from the same store is free.

        Args:
            step: Whose lock.
            wait: See :func:`retain.steps.lock.locked`.

        Raises:
            LockHeldError: If another process computes it and ``wait`` is None.
        """
        if step.key in self._held:
            yield
            return
        with self._holding(step.key, what=step.folder, wait=wait):
            self._held.add(step.key)
            try:
                yield
            finally:
                self._held.remove(step.key)

    def in_use(self) -> AbstractContextManager[None]:
        """Hold while steps are computed and read: keeps ``for_myself`` out, not other users.

        Raises:
            LockHeldError: If the store is being cleaned.
        """
        return self._holding("store", what=f"{self.root} (being cleaned)", shared=True)

    def for_myself(self) -> AbstractContextManager[None]:
        """Hold while steps are removed: keeps everyone else out.

        Raises:
            LockHeldError: If a run is using the store.
        """
        return self._holding("store", what=f"{self.root} (in use by a run)")

    def is_free(self, key: str) -> bool:
        """Whether no process computes the step of this key at this moment."""
        if key in self._held:
            return False
        try:
            with self._holding(key, what=key):
                return True
        except LockHeldError:
            return False

    @contextmanager
    def begin(
        self,
        step: Step,
        journal: Journal | None = None,
        *,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
        needed_bytes: int = 0,
    ) -> Iterator[Work]:
        """Do a step: fill ``work.output``; a clean exit makes it the finished step, at once.

        On an error the temporary files are removed and ``work.partial`` is kept.

        Args:
            step: What is done; it must not be finished.
            journal: Gets the step's events.
            progress: Gets the step's progress.
            stop: True once the step should save and leave.
            needed_bytes: Disk it is expected to take, checked first; 0 when unknown.

        Raises:
            LockHeldError: If another process computes it.
            StoreError: If it is finished already, the disk is full or not writable.
        """
        final = self.root / step.folder
        building = self.root / TEMPORARY / f"{step.key}.{secrets.token_hex(8)}"
        head = {"kind": step.kind, "fingerprint": step.fingerprint}
        with self.lock(step):
            work = Work(
                step=step,
                output=building,
                partial=self._prepare(step, journal, needed_bytes),
                store=self,
                stop=stop,
                on_event=None if journal is None else journal.event,
                on_progress=progress,
            )
            started, clock = datetime.now(UTC), time.monotonic()
            with durable_folder(
                final, temporary=building, head=head, needed_bytes=needed_bytes
            ) as work.output:
                yield work
                record = record_text(work, started, time.monotonic() - clock)
                durable.write_new(work.output / RECORD, record)
            self._trust(final)
            remove_tree(work.partial)

    def _prepare(self, step: Step, journal: Journal | None, needed_bytes: int) -> Path:
        """With the lock held: room for the result, and the folder that survives a kill."""
        if self.finished(step):
            raise StoreError(f"{self.path(step)}: is finished; it is never written to again")
        durable.check_space(self.root, needed_bytes, f"step {step.folder}")
        self._make_room(step, journal)
        partial = self.partial(step)
        with writing(partial):
            make_folder(partial)
            for torn in list(partial.rglob(f"{TEMPORARY}-*")):
                remove_tree(torn)
        return partial

    def _make_room(self, step: Step, journal: Journal | None) -> None:
        """With the lock held: a faulty folder of the step's name is moved out of the way."""
        folder = self.path(step)
        if folder.exists():
            faults = manifest.quick_faults(folder) or ["its manifest is another step's"]
            aside = self.set_aside(folder)
            if journal is not None:
                where = aside.relative_to(self.root).as_posix()
                journal.event("step damaged", step=step.folder, faults=faults, set_aside=where)

    def _damaged(self, step: Step, faults: list[str]) -> DamagedStepError:
        folder = self.path(step)
        try:
            where = f"It was set aside as {self.set_aside(folder)}"
        except StoreError:
            if folder.exists():
                raise
            where = "Another process set it aside"
        return DamagedStepError(
            step,
            f"{folder}: damaged: {'; '.join(faults[:5])}. {where}; the same command computes it "
            "again. If this repeats, check the disk.",
        )

    def _fault(self, folder: Path, name: str, entry: dict[str, Any]) -> str:
        path = folder / name
        seen = _identity(path)
        if seen is not None and seen in self._verified:
            return ""
        fault = manifest.file_fault(path, entry)
        if fault:
            return f"{name} {fault}"
        if seen is not None:
            self._verified.add(seen)
        return ""

    def _trust(self, folder: Path) -> None:
        """What this process hashed a moment ago need not be hashed again."""
        content = manifest.read_manifest(folder)
        for name in content["files"] if content else ():
            if (seen := _identity(folder / name)) is not None:
                self._verified.add(seen)

    def _inside(self, folder: str) -> Path:
        """The path of a step's folder, if it is one of this store's."""
        kind, _, name = folder.partition("/")
        path = self.root / kind / name
        legal = KIND.fullmatch(kind) and name and "/" not in name and not name.startswith(".")
        if not legal or path.is_symlink() or not path.is_dir():
            raise StoreError(f"{folder!r}: no step of {self.root}; `retain list` shows them")
        return path

    @contextmanager
    def _holding(
        self,
        key: str,
        *,
        what: str,
        shared: bool = False,
        wait: Callable[[Holder], None] | None = None,
    ) -> Iterator[None]:
        path = self.root / ".locks" / f"{key}.lock"
        with ExitStack() as stack:
            with writing(self.root):
                stack.enter_context(locked(path, what=what, shared=shared, wait=wait))
            yield


def _identity(path: Path) -> tuple[str, int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
