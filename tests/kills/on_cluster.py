"""Kill what a run on a Ray cluster of two nodes is made of, and compare its tables.

``make kill-cluster``: workers, a node and the driver are killed at random moments, twenty in all;
each run must end by itself or by the same command, with the tables that one process writes.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retain.steps import read_journal
from tests.conftest import make_model, make_tokenizer
from tests.kills.project import write_data
from tests.kills.two_nodes import ENVIRONMENT, TwoNodes, processes

ROOT = Path(__file__).resolve().parent.parent.parent
OUTPUT = ROOT / "benchmarks" / "results" / "kill_cluster.txt"
TABLES = ("scores.csv", "measures.csv")
NAME = "cluster"
WORKER, NODE, DRIVER = "worker", "node", "driver"
BLINK, CUT = "cut for 5 s", "cut for good"
DECK = ",".join([WORKER] * 8 + [NODE] * 6 + [DRIVER] * 6)
BLINK_SECONDS = 5.0
FAR_SECONDS = 6.0
QUIET_SECONDS = 400.0
"""Without a line in the journal: the run hangs. Ray takes a minute and more over a lost node."""
GOES_ON = ("step started", "step reused", "step finished")
ENDS = ("step finished", "step interrupted", "step failed", "worker lost")


def write_recipe(folder: Path, *, num_arms: int = 4, seeds: int = 2) -> Path:
    """The steps of the quickstart's kinds, of a tiny model, in seconds each."""
    write_data(folder)
    make_model().save_pretrained(folder / "model")
    make_tokenizer().save_pretrained(folder / "model")
    train = {"learning_rate": 1e-3, "precision": "fp32", "max_length": 64, "batch_size": 4}
    train |= {"max_steps": 40, "save_steps": 4}
    replay = [{"method": "experience_replay", "share": 0.2}]
    arms = {
        "none": [],
        "replay": replay,
        "low_rate": {"train": {"learning_rate": 1e-4}},
        "freeze": [{"method": "freeze", "select": "first", "num_layers": 1}],
    }
    values = {
        "name": NAME,
        "model": str(folder / "model"),
        "seeds": list(range(seeds)),
        "phases": [
            {"name": "skill", "data": str(folder / "skill.jsonl"), "train": train},
            {
                "name": "text",
                "data": str(folder / "text.jsonl"),
                "train": train | {"objective": "pretrain"},
            },
        ],
        "evaluate": {"tasks": ["phases"]},
        "arms": dict(list(arms.items())[:num_arms]),
    }
    path = folder / "recipe.json"
    path.write_text(json.dumps(values))
    return path


def command(recipe: Path, runs: Path, *more: str) -> list[str]:
    """What a user types."""
    return [sys.executable, "-m", "retain", "run", str(recipe), "--runs", str(runs), *more]


def tables(runs: Path) -> dict[str, bytes]:
    """What must be equal to the byte."""
    return {name: (runs / NAME / name).read_bytes() for name in TABLES}


def alone(recipe: Path, runs: Path) -> dict[str, bytes]:
    """The tables that one process writes, undisturbed."""
    environment = os.environ | ENVIRONMENT
    subprocess.run(command(recipe, runs), env=environment, check=True, capture_output=True)
    return tables(runs)


@dataclass
class Disturbed:
    """One disturbance.

    Attributes:
        kind: What was killed, or how the network was cut.
        at: Seconds since the run's beginning.
        lost: The steps that were under way there.
        back: Seconds until all of them were begun again, or found finished; None: never.
    """

    kind: str
    at: float
    lost: frozenset[str]
    back: float | None = None


class Trial:
    """A run that is disturbed until it has ended.

    Args:
        cluster: Where it runs.
        recipe: What it does.
        runs: Its runs folder.
        deck: What shall happen to it, the next at the end; what did is taken off.
        draw: Draws the moments.
        far_seconds: From when what was lost goes on to what happens next, at most.

    Attributes:
        disturbed: What happened to it.
        code: The command's, at its end; None if it hung.
        seconds: All of it took.
    """

    def __init__(
        self,
        cluster: TwoNodes,
        recipe: Path,
        runs: Path,
        deck: list[str],
        draw: random.Random,
        *,
        far_seconds: float = FAR_SECONDS,
    ) -> None:
        self.disturbed: list[Disturbed] = []
        self.code: int | None = None
        self.seconds = 0.0
        self._cluster = cluster
        self._words = command(recipe, runs, "--on", "ray")
        self._journal = runs / NAME / "journal.jsonl"
        self._log = runs.with_suffix(".log")
        self._deck = deck
        self._draw = draw
        self._far_seconds = far_seconds
        self._events: list[dict[str, object]] = []
        self._num_bytes = 0
        self._missing: set[str] = set()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._driver = self._give()
        self._began = self._moved = time.monotonic()
        self._due = self._moment()

    def go(self) -> None:
        """Until the command ends by itself; it is given again after it was killed."""
        while (code := self._driver.poll()) is None and self._since(self._moved) < QUIET_SECONDS:
            time.sleep(0.1)
            self._look()
            for moment, do in list(self._later):
                if time.monotonic() >= moment:
                    self._later.remove((moment, do))
                    do()
            if self._deck and time.monotonic() >= self._due and self._disturb(self._deck[-1]):
                self._deck.pop()
        self._look()
        self.code, self.seconds = code, self._since(self._began)
        for _, do in self._later:
            do()
        for one in processes(self._driver):
            one.kill()
        self._driver.wait()

    def said(self) -> str:
        """The last lines of the command."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-12:])

    def _disturb(self, kind: str) -> bool:
        """Do it, if there is what it is done to."""
        cluster, running = self._cluster, self._running()
        on_second = {one.pid for one in cluster.workers("second")}
        pids = on_second | {one.pid for one in cluster.workers("head")}
        busy = sorted(pids.intersection(running.values()))
        hit = on_second.intersection(busy) if kind in (BLINK, CUT) else pids
        if not busy or not hit or not cluster.is_whole or (kind == NODE and not on_second):
            return False
        if kind == WORKER:
            hit = {self._draw.choice(busy)}
            os.kill(*hit, signal.SIGKILL)
        elif kind == NODE:
            hit = on_second
            cluster.kill("second")
            self._after(self._draw.uniform(2.0, 8.0), lambda: cluster.start("second"))
        elif kind == DRIVER:
            self._driver.kill()
            self._driver.wait()
            self._driver = self._give()
        else:
            cluster.cut()
            if kind == BLINK:
                self._after(BLINK_SECONDS, cluster.mend)
        self._missing = {step for step, pid in running.items() if pid in hit}
        lost = frozenset(self._missing)
        self.disturbed.append(Disturbed(kind, self._since(self._began), lost))
        self._due = float("inf")  # until what it hit goes on
        return True

    def _look(self) -> None:
        """Take note of what was written to the journal."""
        num_bytes = self._journal.stat().st_size if self._journal.exists() else 0
        if num_bytes == self._num_bytes:
            return
        self._num_bytes, self._moved = num_bytes, time.monotonic()
        events = read_journal(self._journal)
        new, self._events = events[len(self._events) :], events
        if not self.disturbed:
            return
        last = self.disturbed[-1]
        goes_on = {event["step"] for event in new if event["event"] in GOES_ON}
        self._missing -= goes_on
        if last.back is None and goes_on and not self._missing:
            last.back = self._since(self._began) - last.at
            self._due = self._moment()

    def _running(self) -> dict[str, int]:
        """The steps under way, each with its worker's process."""
        found: dict[str, int] = {}
        for event in self._events:
            step = str(event.get("step"))
            if event["event"] == "step started":
                found[step] = int(str(event["worker"]).partition("process ")[2].split()[0])
            elif event["event"] in ENDS:
                found.pop(step, None)
        return found

    def _give(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return self._cluster.popen("head", self._words, log)

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, do))

    def _moment(self) -> float:
        return time.monotonic() + self._draw.uniform(0.0, self._far_seconds)

    @staticmethod
    def _since(moment: float) -> float:
        return time.monotonic() - moment


def faults_of(trial: Trial, expected: dict[str, bytes], runs: Path) -> list[str]:
    """What is wrong with a run that ended."""
    if trial.code is None:
        return [f"nothing happened for {QUIET_SECONDS:.0f} s: {trial.said()}"]
    if trial.code != 0:
        return [f"exit code {trial.code}: {trial.said()}"]
    found = tables(runs)
    return [f"another {name}" for name in TABLES if found[name] != expected[name]]


class Table:
    """What came of every trial, on the screen and in a file.

    Attributes:
        broken: Promises that were.
    """

    def __init__(self) -> None:
        self.broken = 0
        self.lines: list[str] = []
        self._num_trials = 0

    def say(self, text: str) -> None:
        """A line."""
        print(text, flush=True)  # noqa: T201 - the table
        self.lines.append(text)

    def add(self, trial: Trial, faults: list[str]) -> None:
        """What happened in a trial, and how it ended."""
        self._num_trials += 1
        number = f"{self._num_trials:<5}"
        for one in trial.disturbed:
            back = "never" if one.back is None else f"{one.back:.1f}"
            row = f"{one.kind:<14}{one.at:>8.1f}{len(one.lost):>14}{back:>16}"
            self.say(f"{number}{row}")
        self.say(f"{number}{'BROKEN' if faults else 'tables equal'}, {trial.seconds:.0f} s")
        for fault in faults:
            self.say(f"  FAULT {fault}")
        self.broken += len(faults)


def main() -> int:
    """Print and keep the table; exit code 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deck", default=DECK, help="what is killed, in any order")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    draw, table = random.Random(options.seed), Table()
    with tempfile.TemporaryDirectory() as name, TwoNodes() as cluster:
        folder = Path(name)
        recipe = write_recipe(folder)
        where = "in network namespaces"
        if cluster.why_loopback:
            where = f"on the loopback interface, without cuts ({cluster.why_loopback})"
        table.say(f"a Ray cluster of two nodes {where}, a worker each; seed {options.seed}")
        expected = alone(recipe, folder / "alone")
        table.say(f"{'run':<5}{'what':<14}{'at s':>8}{'steps lost':>14}{'on again, s':>16}")
        deck = options.deck.split(",")
        draw.shuffle(deck)
        decks = [deck] if cluster.why_loopback else [deck, [BLINK] * 3, [CUT]]
        number = 0
        for left in decks:
            num_left = -1
            while left and len(left) != num_left:
                number, num_left = number + 1, len(left)
                runs = folder / f"runs-{number}"
                trial = Trial(cluster, recipe, runs, left, draw)
                trial.go()
                table.add(trial, faults_of(trial, expected, runs))
            table.broken += len(left)  # what could not be done to any run
    table.say("all promises kept" if not table.broken else f"{table.broken} BROKEN")
    options.output.write_text("\n".join(table.lines) + "\n", "utf-8")
    return 1 if table.broken else 0


if __name__ == "__main__":
    sys.exit(main())
