"""Which run refers to which step: ``runs/<name>/steps.json``, written before the run begins."""

import json
from collections.abc import Iterable
from pathlib import Path

from retain.errors import StoreError
from retain.steps.durable import write_file, writing
from retain.steps.step import Step

REFERENCES = "steps.json"
FORMAT = 1


def write_references(run_dir: Path, steps: Iterable[Step]) -> None:
    """State what a run needs kept; replaces what it stated before.

    Args:
        run_dir: The run's folder.
        steps: Every step of its graph, finished or not.
    """
    listed = [{"folder": step.folder, "fingerprint": step.fingerprint} for step in steps]
    content = {"format": FORMAT, "steps": listed}
    with writing(run_dir):
        write_file(run_dir / REFERENCES, json.dumps(content, indent=1) + "\n")


def read_references(runs_root: Path) -> dict[str, set[str]]:
    """Fingerprint of each step that is referred to, and the names of the runs that do.

    Raises:
        StoreError: If a run's list cannot be read: then nobody knows what may be removed.
    """
    users: dict[str, set[str]] = {}
    for path in sorted(runs_root.glob(f"*/{REFERENCES}")):
        for fingerprint in _read(path):
            users.setdefault(fingerprint, set()).add(path.parent.name)
    return users


def _read(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_bytes())
        return [str(step["fingerprint"]) for step in content["steps"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error}), so it is not known what that run refers to. Run "
            "its recipe again, which writes it anew, or remove the file to give its steps up."
        ) from error
