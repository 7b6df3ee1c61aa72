"""A program that carries out one step of some kind; ``test_signals.py`` sends it signals.

python signal_script.py KIND FOLDER GRACE_SECONDS
"""

import hashlib
import signal
import sys
import time
from functools import partial
from pathlib import Path

from retain.errors import Interrupted
from retain.execute import carry_out, here
from retain.execute.signals import listening
from retain.steps import Journal, Step, Store, durable_folder

NUM_STEPS = 1000


def saving(work):
    """Counts slowly; on a signal it saves and leaves, and then goes on from there."""
    saved = work.partial / "saved" / "count"
    start = int(saved.read_text()) if saved.exists() else 0
    say(f"from {start}")
    for count in range(start, start + 3 if start else NUM_STEPS):
        time.sleep(0.02)
        if work.stop():
            with durable_folder(work.partial / "saved") as folder:
                (folder / "count").write_text(str(count + 1))
            raise Interrupted("saved")
    (work.output / "count").write_text("done")


def deaf(work):
    """One long call into compiled code that looks at nothing, after a snapshot."""
    with durable_folder(work.partial / "saved") as folder:
        (folder / "count").write_text("7")
    say("from 0")
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2**31 - 1)


def quick(work):
    """Ends soon, whatever signal comes."""
    say("from 0")
    time.sleep(0.5)
    (work.output / "count").write_text("done")


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(kind, folder, grace_seconds):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    here.listening = partial(listening, grace_seconds=float(grace_seconds))
    root = Path(folder)
    graph = [Step(kind, "x", 1, {})]
    graph += [Step("quick", "after", 1, {"second": True})] if kind == "quick" else []
    runners = {"saving": saving, "deaf": deaf, "quick": quick}
    try:
        carry_out(
            graph,
            Store(root / ".steps"),
            run=lambda work: runners[work.step.kind](work),
            journal=Journal(root / "journal.jsonl"),
        )
    except Interrupted:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
