"""What it costs to lead: graphs of steps that do nothing, planned and driven.

    python benchmarks/execute.py [--sizes 100,300,1000] [--jobs 2] [--folder DIR] [--output FILE]

A graph is what a recipe of many arms makes: cells of two phases, each with a mix, a training and
three evaluations, on data that all of them share. Each step is begun, sealed, journalled and
renamed as any other; its runner writes nothing. Printed are the seconds to plan (steps made,
ordered by urgency, looked up in the store, packed to be sent), to drive (every step done by worker
processes), of processor time that leader and workers take for that, and to find it all finished;
the leader's peak memory; and the line through the figures, from which larger graphs can be told.
``--folder`` says on which disk: forced writes cost milliseconds each on a real one, next to nothing
in memory.
"""

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from retain.execute import by_urgency, carry_out_by, needed, ordered
from retain.execute.processes import Processes
from retain.execute.worker import Assignment
from retain.steps import Journal, Step, Store, Work
from retain.steps.packed import pack

STEPS_A_CELL = 10
COLUMNS = ("steps", "plan s", "drive s", "ms a step", "CPU s", "again s", "leader MB")
FAR = 100_000


def nothing(work: Work) -> None:
    """What every step does."""


def graph(num_steps: int) -> list[Step]:
    """A graph of about so many steps."""
    data = Step("data", "data", 1, {"count": num_steps})
    steps = [data]
    for cell in range(max(1, num_steps // STEPS_A_CELL)):
        model: dict[str, Step] = {}
        for phase in range(2):
            about = {"cell": cell, "phase": phase}
            mix = Step("mix", f"mix-{cell}", 1, about, {"data": data})
            train = Step("train", f"train-{cell}", 1, about, {"mix": mix, **model})
            model = {"model": train}
            steps += [mix, train]
            for task in range(3):
                settings = {**about, "task": task}
                steps.append(Step("evaluate", f"task-{cell}", 1, settings, model))
    return steps


def measured(num_steps: int, folder: Path, jobs: int) -> tuple[float, ...]:
    """The figures of one size."""
    store, journal = Store(folder / ".steps"), Journal(folder / "journal.jsonl")
    started = time.perf_counter()
    steps = by_urgency(graph(num_steps), at_once=lambda step: step.kind == "data")
    assert len(needed(steps, store)) == len(steps)
    rows = pack(ordered(steps))
    planned, used = time.perf_counter(), cpu_seconds()
    from execute import nothing as run  # by the name that workers find it under

    staff = Processes(Assignment(store.root, rows, run), jobs)
    done = carry_out_by(staff, steps, store, journal=journal).done
    driven, used = time.perf_counter(), cpu_seconds() - used
    assert len(done) == len(steps)
    staff = Processes(Assignment(store.root, rows, run), jobs)
    again = carry_out_by(staff, steps, Store(store.root), journal=journal)
    found = time.perf_counter()
    assert len(again.reused) == len(steps)
    unit = 1 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    drive = driven - planned
    each = 1e3 * drive / len(steps)
    return (len(steps), planned - started, drive, each, used, found - driven, memory)


def cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(who)[:2]) for who in both)


def alone(num_steps: int, folder: Path, jobs: int) -> list[float]:
    """The figures of one size, in a process of its own: memory is a peak."""
    words = [sys.executable, __file__, "--one", str(num_steps), "--jobs", str(jobs)]
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        out = subprocess.run([*words, "--folder", inside], check=True, stdout=subprocess.PIPE)
    return [float(word) for word in out.stdout.split()]


def main() -> None:
    """Print the table and the lines through it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100,300,1000")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(*measured(options.one, options.folder, options.jobs))
        return
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M}, {platform.processor() or platform.machine()}, "
        f"--jobs {options.jobs}, {options.folder}",
        "".join(f"{name:>12}" for name in COLUMNS),
    ]
    print("\n".join(lines), flush=True)
    rows = []
    for size in options.sizes.split(","):
        rows.append(alone(int(size), options.folder, options.jobs))
        lines.append("".join(f"{value:12.2f}" for value in rows[-1]))
        print(lines[-1], flush=True)
    if len(rows) > 1:
        sizes = [row[0] for row in rows]
        for place in (1, 2, 4, 5, 6):
            slope, intercept = statistics.linear_regression(sizes, [row[place] for row in rows])
            name, far = COLUMNS[place], slope * FAR + intercept
            line = f"{name}: {intercept:.2f} and {1e3 * slope:.3f} for each 1,000 steps"
            lines.append(f"{line}; {FAR:,}: {far:.0f}")
            print(lines[-1])
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
