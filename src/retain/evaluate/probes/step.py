"""Steps of kind ``probe``: one measurement inside one checkpoint.

Inputs: ``model`` (absent for the base model); ``new``, or ``new:<phase>`` of joined phases: what
was held out of the phase just done. Output: ``probe.json``. Weights and sums are float32 whatever
the run's precision: what is measured is small.
"""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

from retain.data.example import Example
from retain.evaluate.probes import PROBE
from retain.model import cache
from retain.model.load import Loaded
from retain.model.threads import first_threads
from retain.steps.work import Work


@dataclass(frozen=True)
class Models:
    """The two models of a probe; opened when asked for, one in memory at a time.

    Attributes:
        base: Folder of the base model.
        now: Folder of the checkpoint; the base model's for row 0.
        quantisation: ``nf4`` where the base model is to have 4 bits.
    """

    base: Path
    now: Path
    quantisation: str | None = None

    def open_base(self) -> Loaded:
        """The base model."""
        return cache.get(self.base, precision="fp32", quantisation=self.quantisation)

    def open_now(self) -> Loaded:
        """The checkpoint."""
        if self.now == self.base:
            return self.open_base()
        return cache.get(self.now, precision="fp32")


def run(work: Work, *, base: Path) -> None:
    """Measure, and write ``probe.json``.

    Args:
        work: The running step; settings ``probe``, ``probe_version``, ``quantisation``.
        base: The base model; any folder where it is not needed.

    Raises:
        TaskError: If the probe cannot be made of this model or data.
        ModelError: If a model does not open.
    """
    started = monotonic()
    now = work.input("model", "model") if "model" in work.step.inputs else base
    models = Models(base, now, work.step.settings.get("quantisation"))
    roles = [role for role in work.step.inputs if role.partition(":")[0] == "new"]
    examples = [held_out(work.input(role, "heldout.jsonl")) for role in roles]
    module = import_module(f"retain.evaluate.probes.{work.step.settings['probe']}")
    with first_threads(work.partial) as num_threads:
        found: dict[str, Any] = module.measure(models, examples)
    work.check_stop()
    (work.output / PROBE).write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    device = str(models.open_now().device)
    work.note(threads=num_threads, device=device, seconds=monotonic() - started)


def held_out(path: Path) -> list[Example]:
    """The examples of a data step that printed figures may be made of, in their order."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Example.from_json(row) for row in rows if row.get("role") == "report"]
