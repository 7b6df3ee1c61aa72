"""Free what nobody needs: steps no run refers to, and what killed processes left behind."""

from dataclasses import dataclass
from pathlib import Path

from retain.errors import StoreError, did_you_mean
from retain.steps.durable import TEMPORARY, remove_tree, writing
from retain.steps.entries import Entry, folder_bytes
from retain.steps.references import REFERENCES, read_references
from retain.steps.step import NUM_FOLDER_DIGITS
from retain.steps.store import TRASH, Store


@dataclass(frozen=True)
class Cleaned:
    """What a cleaning removed, or with ``dry_run`` would remove.

    Attributes:
        entries: Steps that no run refers to.
        leftovers: Snapshots of steps no run refers to, damaged steps, temporary files; by their
            path in the store.
        freed_bytes: Disk space.
        recompute_seconds: What computing the removed steps took, and would take again.
    """

    entries: tuple[Entry, ...]
    leftovers: tuple[str, ...]
    freed_bytes: int
    recompute_seconds: float


def clean(
    store: Store, runs_root: Path, run: str | None = None, *, dry_run: bool = False
) -> Cleaned:
    """Remove the steps that no run refers to.

    Args:
        store: Where the steps are.
        runs_root: Holds a folder for each run.
        run: Also give up this run's claim: what only it refers to is removed. Its report stays.
        dry_run: Only say what would go.

    Raises:
        LockHeldError: If a run is using the store at this moment.
        StoreError: If the run is not known, or what a run refers to cannot be read.
    """
    if dry_run:
        return _find(store, runs_root, run)
    with store.for_myself():
        found = _find(store, runs_root, run)
        if run is not None:
            with writing(runs_root):
                (runs_root / run / REFERENCES).unlink(missing_ok=True)
        for entry in found.entries:
            store.remove(entry.folder)
        for name in found.leftovers:
            store.discard(store.root / name)
        for path in (store.root / ".locks").glob("*-*.lock"):
            path.unlink()
    return found


def sweep(store: Store) -> list[str]:
    """Remove what dead processes left behind; what a living one holds (``flock`` tells) stays.

    Returns:
        What was removed, by its path in the store.
    """
    removed = []
    for path in _leftovers(store):
        with writing(path):
            remove_tree(path)
        removed.append(path.relative_to(store.root).as_posix())
    return removed


def _leftovers(store: Store) -> list[Path]:
    """Temporary folders without a living owner, and snapshots of steps that are finished."""
    dead = [
        path
        for path in sorted((store.root / TEMPORARY).glob("*"))
        if (key := path.name.partition(".")[0]) == TRASH or store.is_free(key)
    ]
    done = [
        path
        for path in sorted((store.root / ".partial").glob("*/*"))
        if any((store.root / path.parent.name).glob(f"*-{path.name}"))
        and store.is_free(f"{path.parent.name}-{path.name}")
    ]
    return dead + done


def _find(store: Store, runs_root: Path, run: str | None) -> Cleaned:
    users = read_references(runs_root)
    if run is not None:
        known = sorted(set().union(*users.values()))
        if run not in known:
            raise StoreError(f"{runs_root}: {did_you_mean('run', run, known)}")
    kept = {fingerprint for fingerprint, runs in users.items() if runs - {run}}
    digits = {fingerprint[:NUM_FOLDER_DIGITS] for fingerprint in kept}
    entries = [
        entry for entry in store.entries() if entry.folder[-NUM_FOLDER_DIGITS:] not in digits
    ]
    partial = [
        path for path in sorted((store.root / ".partial").glob("*/*")) if path.name not in digits
    ]
    damaged = sorted((store.root / ".damaged").glob("*/*"))
    leftovers = list(dict.fromkeys([*partial, *damaged, *_leftovers(store)]))
    return Cleaned(
        entries=tuple(entries),
        leftovers=tuple(path.relative_to(store.root).as_posix() for path in leftovers),
        freed_bytes=sum(entry.bytes for entry in entries) + sum(map(folder_bytes, leftovers)),
        recompute_seconds=sum(entry.seconds for entry in entries),
    )
