"""Train a phase by several processes, in a process that a test kills."""

import sys
from pathlib import Path

from retain.steps.step import Step
from retain.train import step
from retain.train.processes import Processes
from tests.train.phases import make_stream
from tests.train.test_train_step import REFERENCE, SETTINGS, Bench

OPTIONS = SETTINGS | REFERENCE | {"learning_rate": 1e-3, "weight_decay": 0.1}


class Together:
    """A store with a mix of 50 optimizer steps, and a train step in it.

    Args:
        root: The store's folder.
        base: Folder of the base model.
        inputs: Of the train step besides the mix.
        settings: Of the train step besides ``OPTIONS``.
    """

    def __init__(self, root, base, stream=None, methods=(), inputs=None, **settings):
        self.bench = Bench(root, base, stream or make_stream(num_steps=5, epochs=10))
        self.methods, self.events = methods, []
        self.step = Step(
            "train", "p1", 1, OPTIONS | settings, {"mix": self.bench.mix, **(inputs or {})}
        )

    @property
    def folder(self):
        return self.bench.store.path(self.step)

    def run(
        self,
        processes=1,
        *,
        shard=False,
        stop=lambda: False,
        at_step=lambda number: None,
        save_steps=5,
    ):
        """Train, or go on; the step's folder."""

        def runner(work):
            work.on_progress = lambda done, total, text, unit: at_step(done)
            work.on_event = lambda kind, **fields: self.events.append({"kind": kind, **fields})
            step.run(
                work,
                base=self.bench.base,
                methods=self.methods,
                processes=Processes(processes, shard),
                save_steps=save_steps,
            )

        return self.bench.run(self.step, runner, stop)


if __name__ == "__main__":
    Together(Path(sys.argv[1]), Path(sys.argv[2])).run(int(sys.argv[3]), save_steps=1)
