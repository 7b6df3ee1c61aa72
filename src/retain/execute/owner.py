"""A run's folder: inside the runs folder, and one process at a time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from retain.errors import StoreError
from retain.steps.durable import TEMPORARY, make_folder, remove_tree, writing
from retain.steps.lock import locked
from retain.steps.step import check_name

LOCK = ".lock"


def run_folder(runs_root: Path, name: str) -> Path:
    """Where a run's files go; not created.

    Raises:
        RecipeError: If the name is not fit for a folder (``..``, slashes, ...).
        StoreError: If the folder is a link that leads out of the runs folder.
    """
    folder = runs_root / check_name("run name", name)
    if not folder.resolve().is_relative_to(runs_root.resolve()):
        raise StoreError(
            f"{folder}: leads to {folder.resolve()}, outside {runs_root}. Remove the link, or put "
            "the whole runs folder on the other disk."
        )
    return folder


@contextmanager
def own_run(run_dir: Path) -> Iterator[None]:
    """Be the only process that works on a run; free again when it ends, however it ends.

    Files that an earlier owner was killed over are removed.

    Raises:
        LockHeldError: If another process has it: says which, where and since when.
        StoreError: If the folder cannot be written to.
    """
    what = f"{run_dir} (one `retain run` of a recipe at a time)"
    with ExitStack() as stack:
        with writing(run_dir):
            make_folder(run_dir)
            stack.enter_context(locked(run_dir / LOCK, what=what))
            for torn in [*run_dir.glob(f"{TEMPORARY}-*"), *run_dir.glob(f"*/{TEMPORARY}-*")]:
                torn.unlink() if torn.is_symlink() else remove_tree(torn)
        yield
