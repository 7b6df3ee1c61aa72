"""A process with every library loaded that forks a child for each trial, in little time.

``harness.py`` starts it and asks; a question and its answer are a line of JSON each. It has one
thread of Python's, so that it may fork; Arrow's own idle ones know of forks.
"""

import faulthandler
import gc
import json
import os
import random
import signal
import sys
from pathlib import Path

from retain.model import cache
from retain.steps import DamagedStepError, Step, Store
from retain.steps.durable import remove_tree
from tests.kills import mistakes, small_disk
from tests.kills.children import KILLED, REFUSED, KilledAt, in_child
from tests.kills.project import (
    EVERY_KIND,
    NUM_EPOCHS,
    REPORTED,
    STEPS_AN_EPOCH,
    Bench,
    content,
    every_tuning,
    set_stage,
    write_data,
)
from tests.kills.race import race
from tests.kills.trials import RUNS, Case, Found, Trials


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
            found.faults += [] if in_child(lambda: case.do(root)) == 0 else ["undisturbed: fails"]
            self._expected[arm] = case.content(root)
            remove_tree(root)
        draw, root = random.Random(f"{arm} {epoch} {kills}"), case.root()
        for number in range(kills):
            last = NUM_EPOCHS * STEPS_AN_EPOCH
            at = min(last, (case.newest(root) or 0) + draw.randint(1, 3))
            if kills == 1:
                at = STEPS_AN_EPOCH * epoch + draw.randint(5, 6)  # the second save has begun
            status = in_child(lambda at=at: case.do(root, KilledAt(at)))
            found.fired += status == KILLED
            if status != KILLED:
                found.faults.append(f"kill {number + 1}: exit code {status}")
                break
        snapshot = case.newest(root)
        found.went_on += snapshot is not None
        if in_child(lambda: case.do(root)) != 0:
            found.faults.append("the same command fails")
        elif case.content(root) == self._expected[arm]:
            found.equal += 1
        else:
            found.faults.append("the result differs")
        found.faults += case.faults_after_rerun(root)
        found.faults += _steps_told_twice(case, root)
        remove_tree(root)
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
                status = in_child(lambda root=root: case.do(root))
                if status == 0 and content(case.store(root).path(step)) == expected:
                    found.equal += 1
                else:
                    found.faults.append(f"{name}, {how}: not computed again ({status})")
                remove_tree(root)
        return found

    def small_disk(self) -> Found:
        """Train on a real disk that is full during a save; give it room; train on."""
        case = self.case("train")
        trials = Trials(case)
        found = trials.found
        root = case.root()
        needed = sum(path.stat().st_size for path in (root / RUNS).rglob("*") if path.is_file())
        reader, writer = os.pipe()
        for models in (0.5, 1.0, 2.0):  # a snapshot of this step takes about as much as its model
            found.trials += 1
            size = needed + int(models * _bytes_of_model(self.base)) + 50_000
            status = in_child(lambda size=size: _on_small_disk(case, root, size, writer))
            said = json.loads(os.read(reader, 100_000)) if status == 0 else {"faults": [status]}
            found.fired += said.get("refused", False)
            found.equal += said.get("content") == trials.expected
            found.faults += [f"{size} bytes: {fault}" for fault in said["faults"]]
        os.close(reader)
        os.close(writer)
        remove_tree(root)
        return found

    def starters(self, rounds: int, count: int = 8) -> Found:
        """Many commands at once on one run directory: one owner, the others say who it is."""
        case = self.case("mix")
        trials = Trials(case)
        found = trials.found
        for number in range(rounds):
            found.trials += 1
            root = case.root()
            outcomes = race(case, root, count)
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
            remove_tree(root)
        return found


def _on_small_disk(case: Case, root: Path, num_bytes: int, answer: int) -> None:
    """In a child of its own: the disk is there for it and its children alone."""
    given = [path for path in (root / RUNS).rglob("*") if path.is_file()]
    kept = {path: path.read_bytes() for path in given}
    small_disk.mount(root / RUNS, num_bytes)
    for path, bytes_ in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes_)
    said, faults = root / "said", []
    first = in_child(lambda: case.do(root), said)
    text = said.read_text() if said.exists() else ""
    if first == REFUSED and not ("full" in text and "free" in text and "same command" in text):
        faults.append(f"said {text!r}")
    if first not in (0, REFUSED):
        faults.append(f"exit code {first}")
    faults += [f"left {path}" for path in (root / RUNS).rglob(".tmp-*")]
    small_disk.grow(root / RUNS, 50 * num_bytes)
    again = in_child(lambda: case.do(root))
    faults += [] if again == 0 else [f"with room: exit code {again}"]
    found = {"refused": first == REFUSED, "faults": faults, "content": case.content(root)}
    os.write(answer, json.dumps(found).encode())


def _bytes_of_model(base: Path) -> int:
    return (base / "model" / "model.safetensors").stat().st_size


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


def _write_model(folder: Path) -> None:
    """A tiny model and its tokenizer; in a child, since saving starts threads."""
    from tests.conftest import make_model, make_tokenizer

    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def main(base: Path) -> None:
    """Answer questions until there are no more."""
    faulthandler.register(signal.SIGUSR1)  # says where it is
    set_stage()
    if in_child(lambda: _write_model(base / "model")):
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
