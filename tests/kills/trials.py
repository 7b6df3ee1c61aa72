"""A case that is disturbed, done again, and compared with the run that nobody disturbed."""

import json
import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from retain import api
from retain.steps import Step, Store, durable, read_journal
from retain.train.snapshot import newest
from tests.kills.children import (
    HUNG,
    KILLED,
    REFUSED,
    STOPPED,
    act_in_child,
    counted,
    full_at,
    in_child,
    kill_at,
    term_at,
)
from tests.kills.project import Bench, content, report_content

RUNS = Path("runs")
STOP_SECONDS = 10.0
Plans = list[tuple[str, Callable[[Path], int]]]
"""Name of a disturbance, and what does a case with it and gives the exit status."""


@dataclass
class Found:
    """What came of the trials of one kind.

    Attributes:
        kind: Of step, or ``report``.
        events: File events of a run that nobody disturbs.
        trials: Runs that were disturbed.
        fired: Of these, the ones that really were.
        went_on: Of these, the ones that had a snapshot and went on from it.
        equal: Trials that ended with the same bytes.
        seconds: Of all of it.
        faults: What was not as promised, in words.
    """

    kind: str
    events: int = 0
    trials: int = 0
    fired: int = 0
    went_on: int = 0
    equal: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


class Case:
    """One step of a bench (or its report), to be done again and again in folders of their own."""

    def __init__(self, bench: Bench, step: Step | None, base: Path) -> None:
        self.bench, self.step, self.base = bench, step, base
        self.number = 0
        self.kind = "report" if step is None else step.kind

    def root(self) -> Path:
        """A new folder with all that the step builds on."""
        self.number += 1
        root = self.base / f"{self.kind}-{self.number}"
        (root / RUNS).mkdir(parents=True)
        given = self.bench.steps if self.step is None else self.step.inputs.values()
        self.bench.give(root / RUNS, given)
        if self.step is None:  # what a run has before its report
            (root / RUNS / self.bench.name).mkdir()
            for name in ("recipe.resolved.yaml", "steps.json"):
                source = self.bench.whole.root.parent / self.bench.name / name
                (root / RUNS / self.bench.name / name).write_bytes(source.read_bytes())
        return root

    def do(self, root: Path, listener=None) -> None:
        """Do it, in this process."""
        os.chdir(root)
        if self.step is None:
            self.bench.report(RUNS)
        else:
            self.bench.do(RUNS, [self.step], listener)

    def content(self, root: Path) -> dict[str, str]:
        """What came out."""
        if self.step is None:
            return report_content(root / RUNS / self.bench.name)
        return content(self.store(root).path(self.step))

    def store(self, root: Path) -> Store:
        """The store of a trial."""
        return Store(root / RUNS / api.STEPS)

    def events(self, root: Path) -> list[dict]:
        """The journal of a trial."""
        return read_journal(root / RUNS / self.bench.name / "journal.jsonl")

    def is_done(self, root: Path) -> bool:
        """Whether the step is finished."""
        return self.step is not None and self.store(root).finished(self.step)

    def newest(self, root: Path) -> int | None:
        """Optimizer steps of the newest snapshot that verifies."""
        if self.step is None:
            return None
        found = newest(self.store(root).partial(self.step), lambda name, faults: None)
        return None if found is None else found.step

    def faults_after_kill(self, root: Path) -> list[str]:
        """Each step is absent or whole."""
        store = self.store(root)
        return [
            f"{entry.folder}: {fault}"
            for entry in store.entries()
            for fault in store.verify(entry.folder)
        ]

    def faults_after_rerun(self, root: Path) -> list[str]:
        """All there, and nothing left behind."""
        store, run = self.store(root), root / RUNS / self.bench.name
        found = self.faults_after_kill(root)
        if self.step is not None and not self.is_done(root):
            found.append("is not finished")
        left = [*(store.root / ".tmp").glob("*"), *(store.root / ".partial").glob("*/*")]
        left += [*(store.root / ".damaged").glob("*/*"), *run.rglob(".tmp-*")]
        return found + [f"left behind: {path.relative_to(root)}" for path in left]


class Trials:
    """Disturbs a case, does it again, and compares with the run that nobody disturbed."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.found = Found(case.kind)
        root = case.root()
        started = time.monotonic()
        status, self.found.events = counted(lambda: case.do(root))
        self.typical_seconds = time.monotonic() - started
        self.expected = case.content(root)
        self.found.faults += [f"undisturbed: {fault}" for fault in case.faults_after_rerun(root)]
        if status:
            self.found.faults.append(f"undisturbed: exit code {status}")
        durable.remove_tree(root)

    def trial(
        self,
        name: str,
        disturb: Callable[[Path], int],
        fired: Iterable[int] = (KILLED,),
        others: Iterable[int] = (0,),
    ) -> None:
        """One run that is disturbed, and one that is not.

        Args:
            name: Of the disturbance, for faults.
            disturb: Does the case, and gives its exit status.
            fired: Statuses that show that the disturbance happened.
            others: Statuses that are fine too: it ended before.
        """
        found, root = self.found, self.case.root()
        found.trials += 1
        status = disturb(root)
        happened = status in fired
        found.fired += happened
        faults = [] if happened or status in others else [f"exit code {status}"]
        faults += self.case.faults_after_kill(root)
        snapshot = None if self.case.is_done(root) else self.case.newest(root)
        again = in_child(lambda: self.case.do(root))
        if again != 0:
            faults.append(f"the same command gives exit code {again}")
        else:
            faults += self.case.faults_after_rerun(root)
            faults += self._went_on(root, snapshot)
            if self.case.content(root) == self.expected:
                found.equal += 1
            else:
                faults.append("the result differs from an undisturbed run's")
        found.faults += [f"{self.case.kind}, {name}: {fault}" for fault in faults]
        durable.remove_tree(root)

    def _went_on(self, root: Path, snapshot: int | None) -> list[str]:
        """The second run began where the newest whole snapshot was, not earlier."""
        if snapshot is None:
            return []
        resumed = [e["optimizer_step"] for e in self.case.events(root) if e["event"] == "resumed"]
        self.found.went_on += resumed[-1:] == [snapshot]
        return (
            [] if resumed[-1:] == [snapshot] else [f"had step {snapshot}, went on from {resumed}"]
        )

    def kills(self, events: int | list[int] | None, num_random: int) -> Found:
        """SIGKILL at file events, and at random times.

        Args:
            events: Which, negative ones from the end; or how many, evenly spread; None for all.
            num_random: At random times.
        """
        numbers = events if isinstance(events, list) else self._spread(events)
        plans: Plans = [
            (
                f"killed at file event {number}",
                lambda root, n=number: in_child(lambda: kill_at(n, lambda: self.case.do(root))),
            )
            for number in (n % self.found.events for n in numbers)
        ]
        draw = random.Random(self.case.kind)
        times = [draw.uniform(0, self.typical_seconds) for _ in range(num_random)]
        plans += [
            (
                f"killed after {seconds:.4f} s",
                lambda root, s=seconds: in_child(lambda: self.case.do(root), kill_after=s),
            )
            for seconds in times
        ]
        return self._all(plans, (KILLED,))

    def signals(self, count: int) -> Found:
        """SIGTERM at file events: the step saves or ends, and leaves in time."""

        def disturb(root: Path, number: int) -> int:
            started = time.monotonic()
            status = in_child(lambda: term_at(number, lambda: self.case.do(root)))
            if time.monotonic() - started > STOP_SECONDS:
                self.found.faults.append(f"SIGTERM at file event {number}: took too long")
            return status

        plans: Plans = [
            (f"SIGTERM at file event {number}", lambda root, n=number: disturb(root, n))
            for number in self._spread(count)
        ]
        return self._all(plans, (STOPPED, 0))

    def full_disks(self, count: int | None, *, for_good: bool = False) -> Found:
        """A disk that is full at some event: said, nothing torn is left, what was there stays.

        Args:
            count: At how many events; None for every one.
            for_good: It stays full, instead of having room again for the next write.
        """
        plans: Plans = [
            (
                f"disk full at file event {number}",
                lambda root, n=number: self._full(root, n, for_good=for_good),
            )
            for number in self._spread(count)
        ]
        return self._all(plans, (REFUSED,))

    def _spread(self, count: int | None) -> list[int]:
        """The numbers of some events, the first and the last among them."""
        last = self.found.events - 1
        wanted = last + 1 if count is None else min(count, last + 1)
        return sorted({round(i * last / max(1, wanted - 1)) for i in range(wanted)})

    def _all(self, plans: Plans, fired: Iterable[int]) -> Found:
        """Every trial, shared among as many children as there are processors."""
        started, num_shares = time.monotonic(), min(os.cpu_count() or 1, len(plans))
        files = [self.case.base / f"{self.case.kind}-share-{n}" for n in range(num_shares)]
        for file, share in zip(
            files, [plans[n::num_shares] for n in range(num_shares)], strict=True
        ):
            if os.fork() == 0:
                act_in_child(lambda f=file, s=share: self._share(f, s, fired), None)
        for _ in files:
            os.wait()
        for file in files:
            told = json.loads((file / "found.json").read_text())
            for name in ("trials", "fired", "went_on", "equal", "faults"):
                setattr(self.found, name, getattr(self.found, name) + told[name])
            durable.remove_tree(file)
        self.found.seconds = time.monotonic() - started
        return self.found

    def _share(self, folder: Path, plans: Plans, fired: Iterable[int]) -> None:
        """In a child: some of the trials, in a folder of their own."""
        folder.mkdir()
        self.case.base, self.found = folder, Found(self.case.kind)
        for name, disturb in plans:
            self.trial(name, disturb, fired)
            if any(str(HUNG) in fault for fault in self.found.faults):
                break  # each of the others would take as long
        (folder / "found.json").write_text(json.dumps(vars(self.found)))

    def _full(self, root: Path, number: int, *, for_good: bool) -> int:
        said = root / "said"
        status = in_child(
            lambda: full_at(number, lambda: self.case.do(root), for_good=for_good), said
        )
        if status == REFUSED:
            store, text = self.case.store(root), said.read_text()
            torn = [*store.root.glob(".tmp/*"), *store.root.glob(".partial/*/*/*/.tmp-*")]
            if "full" not in text or "same command" not in text:
                self.found.faults.append(f"{self.case.kind}, disk full at {number}: said {text!r}")
            self.found.faults += [f"disk full at {number} left {path}" for path in torn]
        return status
