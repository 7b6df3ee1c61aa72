"""A process with every library loaded that forks a child for each trial, in little time.

``harness.py`` starts it and asks; a question and its answer are a line of JSON each. It has one
thread of Python's, so that it may fork; Arrow's own idle ones know of forks.
"""

import gc
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from retain import api
from retain.errors import Interrupted, RetainError
from retain.execute import Quiet
from retain.model import cache
from retain.steps import DamagedStepError, Step, Store, durable, read_journal
from retain.train.snapshot import newest
from tests.kills import mistakes
from tests.kills.project import (
    EVERY_KIND,
    REPORTED,
    STEPS_AN_EPOCH,
    Bench,
    content,
    every_tuning,
    report_content,
    set_stage,
    write_data,
)

RUNS = Path("runs")
KILLED = -signal.SIGKILL
REFUSED, STOPPED = 1, 130  # exit codes, as of the command line
MAX_SECONDS = 60.0  # of a child


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
        status, self.found.events = _counted(lambda: case.do(root))
        self.typical_seconds = time.monotonic() - started
        self.expected = case.content(root)
        self.found.faults += [f"undisturbed: {fault}" for fault in case.faults_after_rerun(root)]
        if status:
            self.found.faults.append(f"undisturbed: exit code {status}")
        _remove(root)

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
        again = _in_child(lambda: self.case.do(root))
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
        _remove(root)

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
            events: Which; or how many, evenly spread; None for every one.
            num_random: At random times.
        """
        started = time.monotonic()
        for number in events if isinstance(events, list) else self._spread(events):
            self.trial(
                f"killed at file event {number}",
                lambda root, n=number: _in_child(lambda: _kill_at(n, lambda: self.case.do(root))),
            )
        draw = random.Random(self.case.kind)
        for _ in range(num_random):
            seconds = draw.uniform(0, self.typical_seconds)
            self.trial(
                f"killed after {seconds:.4f} s",
                lambda root, s=seconds: _in_child(lambda: self.case.do(root), kill_after=s),
            )
        self.found.seconds = time.monotonic() - started
        return self.found

    def _spread(self, count: int | None) -> list[int]:
        """The numbers of some events, the first and the last among them."""
        last = self.found.events - 1
        wanted = last + 1 if count is None else min(count, last + 1)
        return sorted({round(i * last / max(1, wanted - 1)) for i in range(wanted)})

    def signals(self, count: int) -> Found:
        """SIGTERM at file events: the step saves or ends, and leaves in time."""
        started = time.monotonic()
        for number in self._spread(count):
            clock = time.monotonic()
            self.trial(
                f"SIGTERM at file event {number}",
                lambda root, n=number: _in_child(lambda: _term_at(n, lambda: self.case.do(root))),
                fired=(STOPPED, 0),
            )
            if time.monotonic() - clock > 10:
                self.found.faults.append(f"SIGTERM at file event {number}: took over 10 s")
        self.found.seconds = time.monotonic() - started
        return self.found

    def full_disks(self, count: int | None, *, for_good: bool = False) -> Found:
        """A disk that is full at some event: said, nothing torn is left, what was there stays.

        Args:
            count: At how many events; None for every one.
            for_good: It stays full, instead of having room again for the next write.
        """
        started = time.monotonic()
        for number in self._spread(count):
            self.trial(
                f"disk full at file event {number}",
                lambda root, n=number: self._full(root, n, for_good=for_good),
                fired=(REFUSED,),
            )
        self.found.seconds = time.monotonic() - started
        return self.found

    def _full(self, root: Path, number: int, *, for_good: bool) -> int:
        said = root / "said"
        status = _in_child(
            lambda: _full_at(number, lambda: self.case.do(root), for_good=for_good), said
        )
        if status == REFUSED:
            store, text = self.case.store(root), said.read_text()
            torn = [*store.root.glob(".tmp/*"), *store.root.glob(".partial/*/*/*/.tmp-*")]
            if "full" not in text or "same command" not in text:
                self.found.faults.append(f"{self.case.kind}, disk full at {number}: said {text!r}")
            self.found.faults += [f"disk full at {number} left {path}" for path in torn]
        return status


class Server:
    """Answers questions about one folder of trials."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._benches: dict[str, Bench] = {}
        self._prepared: set[str] = set()
        self._expected: dict[str, dict[str, str]] = {}

    def bench(self, name: str) -> Bench:
        """The bench of that name, its recipe done once: in this process, to load all it needs."""
        if name not in self._benches:
            recipes = {"every-tuning": every_tuning(), "reported": REPORTED}
            values = recipes.get(name, EVERY_KIND)
            bench = Bench(values, self.base, self.base / "whole" / RUNS)
            gc.freeze()  # what is loaded by now need not be searched after each step
            self._whole(bench)
            self._benches[name] = bench
        return self._benches[name]

    def _whole(self, bench: Bench) -> None:
        os.chdir(self.base / "whole")
        bench.prepared.write_head(RUNS / bench.name)
        bench.do(RUNS, bench.needed())
        if bench.name == "reported":
            bench.report(RUNS)
        cache.clear()  # a child opens its models itself
        gc.collect()
        gc.freeze()

    def case(self, kind: str) -> Case:
        """The step of a kind, or the report."""
        if kind == "report":
            return Case(self.bench("reported"), None, self.base)
        bench = self.bench("every-kind")
        return Case(bench, bench.one_of_each_kind()[kind], self.base)

    # ------------------------------------------------------------ what may be asked

    def kinds(self) -> list[str]:
        """Every kind of step there is to disturb."""
        return [*self.bench("every-kind").one_of_each_kind(), "report"]

    def kill(
        self, kind: str, events: int | list[int] | None, num_random: int, mistake: str = ""
    ) -> Found:
        """See :meth:`Trials.kills`; with a deliberate mistake, a negative control."""
        with mistakes.made(mistake):
            return Trials(self.case(kind)).kills(events, num_random)

    def terminate(self, kind: str, count: int) -> Found:
        """See :meth:`Trials.signals`."""
        return Trials(self.case(kind)).signals(count)

    def fill(self, kind: str, count: int | None, for_good: bool = False) -> Found:
        """See :meth:`Trials.full_disks`."""
        return Trials(self.case(kind)).full_disks(count, for_good=for_good)

    def resume(self, arm: str, epoch: int, kills: int = 1) -> Found:
        """Kill the training of an arm inside an epoch (or many times), and let it go on."""
        case = self._training(arm)
        found = Found(f"{arm}, epoch {epoch}", trials=kills)
        if arm not in self._expected:
            root = case.root()
            found.faults += [] if _in_child(lambda: case.do(root)) == 0 else ["undisturbed: fails"]
            self._expected[arm] = case.content(root)
            _remove(root)
        draw, root = random.Random(f"{arm} {epoch} {kills}"), case.root()
        for number in range(kills):
            at = (case.newest(root) or 0) + draw.randint(1, 3)
            if kills == 1:
                at = STEPS_AN_EPOCH * epoch + draw.randint(5, 6)  # the second save has begun
            status = _in_child(lambda at=at: case.do(root, _KilledAt(at)))
            found.fired += status == KILLED
            if status != KILLED:
                found.faults.append(f"kill {number + 1}: exit code {status}")
                break
        snapshot = case.newest(root)
        found.went_on += snapshot is not None
        if _in_child(lambda: case.do(root)) != 0:
            found.faults.append("the same command fails")
        elif case.content(root) == self._expected[arm]:
            found.equal += 1
        else:
            found.faults.append("the result differs")
        found.faults += case.faults_after_rerun(root)
        found.faults += _steps_told_twice(case, root)
        _remove(root)
        return found

    def _training(self, arm: str) -> Case:
        bench = self.bench("every-tuning")
        return Case(bench, bench.training(arm), self.base)

    def arms(self) -> list[str]:
        """The arms of the recipe with every tuning."""
        return [name for name in every_tuning()["arms"] if name != "none"]

    def damage(self, kind: str) -> Found:
        """Cut and flip every file of a finished step: noticed, and computed again."""
        bench = self.bench("every-kind")
        step = bench.one_of_each_kind()[kind]
        case = Case(bench, step, self.base)
        found = Found(kind)
        names = sorted(
            path.relative_to(bench.whole.path(step)).as_posix()
            for path in bench.whole.path(step).rglob("*")
            if path.is_file()
        )
        expected = content(bench.whole.path(step))
        for name in names:
            for how in ("cut", "flip"):
                found.trials += 1
                root = case.root()
                bench.give(root / RUNS, [step])
                mistakes.damage(case.store(root).path(step) / name, how)
                noticed = _noticed(case.store(root), step, name)
                found.fired += noticed
                if not noticed:
                    found.faults.append(f"{step.folder}/{name}, {how}: not noticed")
                status = _in_child(lambda root=root: case.do(root))
                if status == 0 and content(case.store(root).path(step)) == expected:
                    found.equal += 1
                else:
                    found.faults.append(f"{name}, {how}: not computed again ({status})")
                _remove(root)
        return found

    def starters(self, rounds: int, count: int = 8) -> Found:
        """Many commands at once on one run directory: one owner, the others say who it is."""
        case = self.case("mix")
        trials = Trials(case)
        found = trials.found
        for number in range(rounds):
            found.trials += 1
            root = case.root()
            outcomes = _race(case, root, count)
            owners = [pid for pid, (status, _) in outcomes.items() if status == 0]
            faults = [] if len(owners) == 1 else [f"{len(owners)} owners"]
            for pid, (status, said) in outcomes.items():
                if pid not in owners and (
                    status != REFUSED or f"process {owners[0]} on" not in said
                ):
                    faults.append(f"exit code {status}, said {said!r}")
            found.fired += not faults
            faults += case.faults_after_rerun(root)
            if case.content(root) == trials.expected:
                found.equal += 1
            else:
                faults.append("the result differs")
            found.faults += [f"round {number + 1}: {fault}" for fault in faults]
            _remove(root)
        return found


# ---------------------------------------------------------------- disturbances, in the child


class _KilledAt(Quiet):
    """Kills the process once training has come to a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def progress(self, step, done, total, text, unit) -> None:
        if unit == "steps" and done == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def _at_event(number: int, act: Callable[[str, Path], None]) -> None:
    """Let something happen before the ``number``-th file event."""
    count = iter(range(10**9))
    durable.on_file_event = lambda kind, path: act(kind, path) if next(count) == number else None


def _kill_at(number: int, do: Callable[[], None]) -> None:
    _at_event(number, lambda kind, path: os.kill(os.getpid(), signal.SIGKILL))
    do()


def _term_at(number: int, do: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
    _at_event(number, lambda kind, path: os.kill(os.getpid(), signal.SIGTERM))
    do()


def _full_at(number: int, do: Callable[[], None], *, for_good: bool) -> None:
    count = iter(range(10**9))

    def full(kind: str, path: Path) -> None:
        now = next(count)
        if kind != "remove" and (now >= number if for_good else now == number):
            raise OSError(28, "No space left on device", str(path))

    durable.on_file_event = full
    do()


# ---------------------------------------------------------------- children


def _in_child(
    act: Callable[[], None], said: Path | None = None, *, kill_after: float | None = None
) -> int:
    """Exit status of a fork that acts; negative: killed by that signal.

    Args:
        act: What it does.
        said: Gets the message of an error of ours.
        kill_after: Seconds until it is killed from outside.
    """
    assert threading.active_count() == 1, "a process with threads may not fork"
    pid = os.fork()
    if pid == 0:
        _act(act, said)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    return _status(pid)


def _act(act: Callable[[], None], said: Path | None) -> None:
    """In the child: act, and leave with the exit code of the command line."""
    status = 70
    try:
        act()
        status = 0
    except RetainError as error:
        status = REFUSED
        if said is None:
            traceback.print_exc()
        else:
            said.write_text(str(error))
    except (Interrupted, KeyboardInterrupt):
        status = STOPPED
    except BaseException:  # noqa: BLE001 - a child never returns into the server
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _status(pid: int) -> int:
    end = time.monotonic() + MAX_SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1000  # it hung


def _counted(do: Callable[[], None]) -> tuple[int, int]:
    """Exit status and number of file events of a run that nobody disturbs."""
    reader, writer = os.pipe()

    def count() -> None:
        seen = []
        durable.on_file_event = lambda kind, path: seen.append(kind)
        do()
        os.write(writer, str(len(seen)).encode())

    status = _in_child(count)
    os.close(writer)
    with os.fdopen(reader) as answer:
        return status, int(answer.read() or 0)


def _race(case: Case, root: Path, count: int) -> dict[int, tuple[int, str]]:
    """Start many at once; the one that owns the run goes on when all others have left."""
    gate, opener = os.pipe()
    pids = {}
    for number in range(count):
        said = root / f"said-{number}"
        pid = os.fork()
        if pid == 0:
            os.close(opener)
            os.read(gate, 1)
            _act(lambda: case.do(root, _Patient(root / "release")), said)
        pids[pid] = said
    os.close(gate)
    os.close(opener)  # all of them read the end of the pipe
    outcomes: dict[int, tuple[int, str]] = {}
    for pid, status in _leaving(set(pids)):
        outcomes[pid] = (status, pids[pid].read_text() if pids[pid].exists() else "")
        if len(outcomes) == count - 1:
            (root / "release").touch()
    return outcomes


def _leaving(pids: set[int]) -> Iterator[tuple[int, int]]:
    """Each process with its status as it ends."""
    while pids:
        pid, status = os.wait()
        if pid in pids:
            pids.remove(pid)
            yield pid, os.waitstatus_to_exitcode(status)


class _Patient(Quiet):
    """Holds the run until a file appears."""

    def __init__(self, release: Path) -> None:
        self._release = release

    def start(self, step, position, total) -> None:
        end = time.monotonic() + 20
        while not self._release.exists() and time.monotonic() < end:
            time.sleep(0.005)


# ---------------------------------------------------------------- small things


def _noticed(store: Store, step: Step, name: str) -> bool:
    """Whether a damaged step is not taken for a finished one, or is set aside when it is read."""
    if not store.finished(step):
        return True
    try:
        store.open(step, name)
    except DamagedStepError:
        return True
    return False


def _steps_told_twice(case: Case, root: Path) -> list[str]:
    """The curve has every optimizer step once, in order."""
    lines = (case.store(root).path(case.step) / "curve.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    return [] if steps == list(range(1, len(steps) + 1)) else [f"the curve has steps {steps}"]


def _remove(root: Path) -> None:
    durable.remove_tree(root)


def _write_model(folder: Path) -> None:
    """A tiny model and its tokenizer; in a child, since saving starts threads."""
    from tests.conftest import make_model, make_tokenizer

    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def main(base: Path) -> None:
    """Answer questions until there are no more."""
    set_stage()
    if _in_child(lambda: _write_model(base / "model")):
        raise SystemExit("the tiny model could not be written")
    write_data(base)
    (base / "whole").mkdir()
    server = Server(base)
    server.bench("every-kind")
    for line in sys.stdin:
        question = json.loads(line)
        answer = getattr(server, question.pop("ask"))(**question)
        plain = answer if isinstance(answer, list) else vars(answer)
        sys.stdout.write(json.dumps(plain) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
