"""A program whose steps are done by two processes; ``test_processes.py`` sends signals to it.

python -m tests.execute.many_script FOLDER KIND...
"""

import sys
from pathlib import Path

from retain.errors import Interrupted
from retain.execute import carry_out_by, own_run
from retain.execute.processes import Processes
from retain.execute.worker import Assignment
from retain.steps import Journal, Store
from retain.steps.packed import pack
from tests.execute import toys


def main(folder, *kinds):
    root = Path(folder)
    graph = [toys.toy(f"{kind}{number}", kind=kind) for number, kind in enumerate(kinds)]
    store = Store(root / ".steps")
    with own_run(root / "run"):
        try:
            carry_out_by(
                Processes(Assignment(store.root, pack(graph), toys.run), 2),
                graph,
                store,
                journal=Journal(root / "journal.jsonl"),
            )
        except Interrupted:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
