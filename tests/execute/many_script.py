"""A program whose steps are done by two workers; tests send signals to it.

python -m tests.execute.many_script FOLDER here|ray KIND...
"""

import signal
import sys
from pathlib import Path

from retain.errors import Interrupted
from retain.execute import carry_out_by, own_run
from retain.execute.on_ray import RayActors
from retain.execute.processes import Processes
from retain.execute.worker import Assignment
from retain.steps import Journal, Store
from retain.steps.packed import pack
from tests.execute import toys


def main(folder, place, *kinds):
    root = Path(folder)
    graph = [toys.toy(f"{kind}{number}", kind=kind) for number, kind in enumerate(kinds)]
    store = Store(root / ".steps")
    store.root.mkdir(exist_ok=True)
    assignment = Assignment(store.root, pack(graph), toys.run)
    with own_run(root / "run"):
        try:
            carry_out_by(
                Processes(assignment, 2) if place == "here" else RayActors(assignment, 2, 10**8),
                graph,
                store,
                journal=Journal(root / "journal.jsonl"),
            )
        except Interrupted:
            return 130
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    sys.exit(main(*sys.argv[1:]))
