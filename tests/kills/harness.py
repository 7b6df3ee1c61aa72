"""Ask the fork server; as a program (``make kill-harness``) all there is to ask, as a table."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.kills.mistakes import CONTROLS

ROOT = Path(__file__).resolve().parent.parent.parent
OUTPUT = ROOT / "benchmarks" / "results" / "kill.txt"
COLUMNS = ("kind", "events", "trials", "fired", "went_on", "equal", "seconds")
NUM_RANDOM = 200


class Harness:
    """The other end of the server's pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, what: str, **values: Any) -> Any:
        """An answer of the server, see ``server.Server``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"ask": what, **values}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server of the kill harness ended; see its errors above")
        return json.loads(line)


@contextmanager
def started() -> Iterator[Harness]:
    """A server in a process of its own; its folder is in memory where there is such a place."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment = os.environ | one | {
            "TOKENIZERS_PARALLELISM": "false",
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
            "HF_HUB_OFFLINE": "1",
            "RETAIN_CACHE": str(Path(folder) / "cache"),
            "PYTHONPATH": os.pathsep.join(sys.path[1:]),
        }  # fmt: skip
        with subprocess.Popen(
            [sys.executable, "-m", "tests.kills.server", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        ) as process:
            try:
                yield Harness(process)
            finally:
                assert process.stdin is not None
                process.stdin.close()


def everything(harness: Harness, num_random: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each part of the full harness with what came of it."""
    kinds = harness.ask("kinds")
    for kind in kinds:
        answer = harness.ask("kill", kind=kind, events=None, num_random=num_random)
        yield "SIGKILL at every file event and at random times", answer
    few = {"events": None, "num_random": 0, "mistake": "no copies"}
    yield "SIGKILL while live weights are read", harness.ask("kill", kind="train", **few)
    for kind in kinds:
        yield "SIGTERM at file events", harness.ask("terminate", kind=kind, count=20)
    for kind in kinds:
        yield "disk full at every file event", harness.ask("fill", kind=kind, count=None)
    for kind in kinds[:-1]:
        yield "a byte cut or flipped in every file", harness.ask("damage", kind=kind)
    for arm in harness.ask("arms"):
        for epoch in range(3):
            yield "SIGKILL inside an epoch", harness.ask("resume", arm=arm, epoch=epoch)
        yield "20 SIGKILLs in one run", harness.ask("resume", arm=arm, epoch=0, kills=20)
    yield "a real disk that is full during a save", harness.ask("small_disk")
    yield "8 starters on one run directory", harness.ask("starters", rounds=20)


def controls(harness: Harness) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each deliberate mistake with what came of it: faults, or the harness is worth nothing."""
    for mistake, (kind, events) in CONTROLS.items():
        yield mistake, harness.ask("kill", kind=kind, events=events, num_random=0, mistake=mistake)


def main() -> int:
    """Print and keep the table; exit code 1 if a promise was broken or a mistake not caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=NUM_RANDOM, help="random times a kind")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    clock, lines, broken = time.monotonic(), [], 0

    def say(text: str) -> None:
        print(text, flush=True)  # noqa: T201 - the table
        lines.append(text)

    with started() as harness:
        last = ""
        for title, found in everything(harness, options.random):
            if title != last:
                say(f"\n{title}")
                say("  " + "".join(f"{name:>10}" if i else f"{name:<24}"
                                   for i, name in enumerate(COLUMNS)))  # fmt: skip
                last = title
            shown = [found[name] for name in COLUMNS[1:-1]] + [f"{found['seconds']:.1f}"]
            say(f"  {found['kind']:<24}" + "".join(f"{value!s:>10}" for value in shown))
            broken += len(found["faults"])
            for fault in found["faults"][:10]:
                say(f"    FAULT {fault}")
        say("\ndeliberate mistakes, which must have faults")
        for mistake, found in controls(harness):
            say(f"  {mistake:<24}{len(found['faults'])} faults in {found['trials']} trials")
            broken += not found["faults"]
    verdict = "all promises kept" if not broken else f"{broken} BROKEN"
    say(f"\n{verdict}; {time.monotonic() - clock:.0f} s")
    options.output.write_text("\n".join(lines).lstrip() + "\n", "utf-8")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
