"""The files of a run's own folder: its recipe, journal and report, beside the finished steps."""

from collections.abc import Callable
from pathlib import Path

from retain.remote.objects import MissingObjectError, Objects
from retain.remote.owner import OWNER
from retain.steps.durable import write_file, writing


def send_results(objects: Objects, folder: Path) -> None:
    """Put every file of a run's folder; links to models and dot files stay here."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        plain = path.is_file() and not path.is_symlink()
        if plain and not any(_stays(folder, parts[: end + 1]) for end in range(len(parts))):
            objects.put(f"{folder.name}/{'/'.join(parts)}", path.read_bytes())


def _stays(folder: Path, parts: tuple[str, ...]) -> bool:
    return parts[-1].startswith(".") or folder.joinpath(*parts).is_symlink()


def fetch_results(
    objects: Objects, folder: Path, wanted: Callable[[str], bool] = lambda name: True
) -> None:
    """Bring the files of a run here, in the place of those that are here.

    Args:
        objects: The store.
        folder: The run's folder on this machine.
        wanted: Tells by its name which file is.
    """
    for name in objects.sizes(folder.name):
        if name.startswith(f"{OWNER}/") or ".." in name.split("/") or not wanted(name):
            continue
        with writing(folder):
            write_file(folder / name, objects.get(f"{folder.name}/{name}"))


def merge_journal(objects: Objects, path: Path) -> None:
    """Put before the lines of this machine those that the store has and this machine has not."""
    try:
        there = objects.get(f"{path.parent.name}/{path.name}")
    except MissingObjectError:
        return
    here = path.read_bytes() if path.exists() else b""
    if not here.startswith(there):
        known = set(there.splitlines())
        own = b"".join(line + b"\n" for line in here.splitlines() if line not in known)
        with writing(path):
            write_file(path, there + own)
