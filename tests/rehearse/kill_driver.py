"""Kill -9 a model that writes a corpus, at random times, and run the same step again.

Run by ``test_step.py`` in a process of its own, which has one thread and may fork::

    python kill_driver.py MODEL FOLDER NUM_KILLS

Prints JSON: how many kills hit, in how many of them part of the log was there, and every fault.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from retain.rehearse import grow
from retain.rehearse.filters import Filters
from retain.rehearse.step import LOG, run
from retain.steps.step import Step
from retain.steps.store import Store
from tests.rehearse.growing import Twigs

FILTERS = Filters(cut_off=False, max_repetition=None, requests=False)
CORPUS = Twigs(name="twigs", num_documents=24, branching=(4, 2), filters=FILTERS)
SETTINGS = {"methods": [], "seed": 3, "precision": "fp32"}
STEP = Step("rehearse", "twigs", 1, SETTINGS, files={"model": "0" * 64})


def write(model: Path, root: Path) -> None:
    with Store(root).begin(STEP) as work:
        run(work, model_folder=model, corpus=CORPUS)


def killed_after(seconds: float, model: Path, root: Path) -> bool:
    """Whether the kill came before the step was done."""
    child = os.fork()
    if child == 0:
        write(model, root)
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main(model: Path, base: Path, num_kills: int) -> None:
    torch.set_num_threads(1)
    grow.PORTION = 4
    started = time.monotonic()
    write(model, base / "first")  # opens the model, which a fork then has
    write(model, base / "whole")
    seconds = (time.monotonic() - started) / 2
    expected = (Store(base / "whole").open(STEP, "corpus.jsonl")).read_bytes()
    rng = random.Random(0)
    report = {"hit": 0, "in_between": 0, "faults": [], "lines": expected.count(b"\n")}
    for number in range(num_kills):
        root = base / str(number)
        report["hit"] += killed_after(rng.uniform(0, seconds), model, root)
        log = Store(root).partial(STEP) / LOG
        report["in_between"] += log.exists() and log.read_bytes().count(b"\n") > 1
        if not Store(root).finished(STEP):
            write(model, root)
        if Store(root).open(STEP, "corpus.jsonl").read_bytes() != expected:
            report["faults"].append(f"kill {number}: the corpus differs")
    print(json.dumps(report))  # noqa: T201 - the answer


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
