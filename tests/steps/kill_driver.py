"""Kill a process at every file event of a scenario, look at what is left, and run it again.

Run by ``test_kills.py`` in a process of its own, which has one thread and may fork::

    python kill_driver.py SAVER FOLDER

SAVER is ``sound``, or the name of a deliberate mistake (the negative controls). Prints JSON: the
number of file events, of kills that fired, and every fault seen.
"""

import gc
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from retain.execute import carry_out, own_run
from retain.steps import Journal, Step, Store, durable, read_journal, store, write_file
from retain.steps.manifest import faults
from retain.steps.references import read_references, write_references

DATA = Step("data", "med", 1, {"n": 3})
TRAIN = Step("train", "none", 1, {"steps": 4}, {"mix": DATA})
GRAPH = [DATA, TRAIN]
EXPECTED = "0 1 2 3"


def run_data(work):
    durable.write_new(work.output / "train.jsonl", "{}\n" * 3)
    write_file(work.output / "facts.json", "{}")


def run_train(work):
    """Four steps with a snapshot after each; goes on from the newest whole one."""
    assert work.input("mix", "train.jsonl").read_text() == "{}\n" * 3
    whole = [path for path in sorted(work.partial.iterdir()) if not faults(path)]
    done = (whole[-1] / "done").read_text().split() if whole else []
    for number in range(len(done), 4):
        done.append(str(number))
        final = work.partial / f"step-{number}"
        with durable.durable_folder(final) as folder:
            (folder / "done").write_text(" ".join(done))
        if number:
            durable.remove_tree(work.partial / f"step-{number - 1}")
    (work.output / "model").mkdir()
    (work.output / "model" / "weights").write_text(" ".join(done))


def command(root: Path) -> None:
    """What a user types: own the run, say what it refers to, carry it out."""
    run_dir = root / "med"
    with own_run(run_dir):
        write_references(run_dir, GRAPH)
        runners = {"data": run_data, "train": run_train}
        carry_out(
            GRAPH,
            Store(root / ".steps"),
            run=lambda work: runners[work.step.kind](work),
            journal=Journal(run_dir / "journal.jsonl"),
        )


def faults_after_kill(root: Path) -> list[str]:
    """Each step is absent or whole; the run's list of steps is absent or whole."""
    steps = Store(root / ".steps")
    found = [
        f"{entry.folder}: {fault}"
        for entry in steps.entries()
        for fault in steps.verify(entry.folder)
    ]
    read_references(root)
    return found


def faults_after_rerun(root: Path) -> list[str]:
    """All there, right, and nothing left behind."""
    steps = Store(root / ".steps")
    found = faults_after_kill(root)
    found += [f"{step} is not finished" for step in GRAPH if not steps.finished(step)]
    if not found and steps.open(TRAIN, "model/weights").read_text() != EXPECTED:
        found.append("the result differs from an uninterrupted run's")
    left = [*(steps.root / ".tmp").glob("*"), *(steps.root / ".partial").glob("*/*")]
    left += [*(steps.root / ".damaged").glob("*/*"), *root.glob("med/.tmp-*")]
    found += [f"left behind: {path.relative_to(root)}" for path in left]
    last = {
        event["step"] for event in read_journal(root / "med" / "journal.jsonl") if "step" in event
    }
    return found + [f"{step} is not in the journal" for step in GRAPH if step.folder not in last]


def in_child(act: Callable[[], None]) -> int:
    """Exit status of a fork that acts; negative: killed by that signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at(number: int, root: Path) -> None:
    """Run the command in this process and kill it before its ``number``-th file event."""
    count = 0

    def event(kind: str, path: Path) -> None:
        nonlocal count
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    durable.on_file_event = event
    command(root)


def killed_after(seconds: float, root: Path) -> None:
    """Run the command in this process and have it killed some time after it starts."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if os.fork() == 0:
        parent = os.getppid()
        time.sleep(seconds)
        os.kill(parent, signal.SIGKILL)
        os._exit(0)
    command(root)
    time.sleep(5)


def count_events(root: Path) -> int:
    count = 0

    def event(kind: str, path: Path) -> None:
        nonlocal count
        count += 1

    durable.on_file_event = event
    command(root)
    durable.on_file_event = lambda kind, path: None
    return count


@contextmanager
def in_place(final, *, temporary=None, head=None, needed_bytes=0):
    """Mistake: no temporary folder; the final one is filled as it goes."""
    durable.make_folder(final)
    yield final
    durable.seal(final, head)


def copied(building: Path, final: Path) -> None:
    """Mistake: copied file by file into place instead of renamed."""
    durable.make_folder(final)
    for path in sorted(building.rglob("*"), reverse=True):
        if path.is_file():
            target = final / path.relative_to(building)
            target.parent.mkdir(parents=True, exist_ok=True)
            durable.write_new(target, path.read_bytes())
    durable.remove_tree(building)


def break_saver(name: str) -> None:
    if name == "in_place":
        store.durable_folder = in_place
    elif name == "copied":
        durable.publish = copied
    elif name != "sound":
        raise SystemExit(f"unknown saver {name}")


def main(saver: str, base: Path) -> None:
    os.fsync = lambda descriptor: None  # a kill loses nothing written; only a power cut does
    gc.freeze()  # what is loaded by now need not be searched again after each step
    break_saver(saver)
    num_events = count_events(base / "whole")
    report = {"events": num_events, "kills": 0, "faults": faults_after_rerun(base / "whole")}
    rng = random.Random(0)
    stride = 1 if saver == "sound" else 5
    plans = [
        (f"event {n}", lambda root, n=n: killed_at(n, root)) for n in range(0, num_events, stride)
    ]
    for _ in range(10):
        seconds = rng.uniform(0, 0.03)
        plans.append((f"after {seconds:.4f} s", lambda root, s=seconds: killed_after(s, root)))
    for number, (name, act) in enumerate(plans):
        root = base / str(number)
        report["kills"] += in_child(lambda act=act, root=root: act(root)) == -signal.SIGKILL
        found = faults_after_kill(root)
        if in_child(lambda root=root: command(root)) != 0:
            found.append("the same command fails")
        found += faults_after_rerun(root)
        report["faults"] += [f"killed at {name}: {fault}" for fault in found]
    print(json.dumps(report))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
