"""The kinds of steps: the version of each and the function that carries it out.

A version is raised by hand when the kind's results change; ``tests/test_versions.py`` keeps a hash
of the source each kind reaches and fails with "raise VERSION or confirm".
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of step.

    Attributes:
        version: Enters the fingerprint of every step of the kind.
        runner: ``module:function`` that does the work, imported when a step runs.
    """

    version: int
    runner: str


KINDS = {
    "data": Kind(1, "retain.data.step:run"),
    "mix": Kind(1, "retain.data.mix_step:run"),
    "leak": Kind(1, "retain.pipeline.runners:check_leak"),
    "rehearse": Kind(2, "retain.rehearse.step:run"),
    "sift": Kind(1, "retain.pipeline.runners:sift"),
    "trainable": Kind(1, "retain.train.trainable_step:run"),
    "boundary": Kind(2, "retain.train.boundary_step:run"),
    "train": Kind(1, "retain.train.step:run"),
    "remember": Kind(1, "retain.train.remember_step:run"),
    "finish": Kind(1, "retain.train.finish_step:run"),
    "task_boundary": Kind(1, "retain.evaluate.boundary_step:run"),
    "evaluate": Kind(3, "retain.evaluate.step:run"),
    "probe": Kind(1, "retain.evaluate.probes.step:run"),
    "judge": Kind(1, "retain.evaluate.judge.step:run"),
}
