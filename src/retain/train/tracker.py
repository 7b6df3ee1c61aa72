"""Curves in a tracker of the user's own, through Accelerate's trackers; no result depends on them.

A step that goes on after a stop goes on in the same run of the tracker: TensorBoard writes into the
same folder and drops what was said of later steps, W&B and trackio find the run by its name, MLflow
by the id that is kept beside the curves. Keys and addresses come from the trackers' own
environment variables.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retain.errors import RecipeError
from retain.steps.step import Step
from retain.steps.work import Figures

NONE = "none"
LEFT_OUT = ("step",)
TRACKED = "retain[track]"  # the extra that brings tensorboard and trackio
IN_EXTRA = ("tensorboard", "trackio")


def check_tracker(kind: str) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        RecipeError: With the command that installs it.
    """
    if kind != NONE and find_spec(kind) is None:
        package = f"'{TRACKED}'" if kind in IN_EXTRA else kind
        raise RecipeError(f"report_to: {kind} is not installed: pip install {package}")


@contextmanager
def tracking(
    kind: str, project: str, step: Step, folder: Path, lost: Callable[[str], None]
) -> Iterator[Figures | None]:
    """Inside, what takes a point of the training curve; None without a tracker.

    Args:
        kind: As a recipe says in ``report_to``.
        project: What the tracker files the run under: the recipe's name.
        step: The train step; its name and fingerprint name the tracker's run.
        folder: Where trackers that write files write them.
        lost: Told why, once, if the tracker fails (no network, no room); training goes on.

    Raises:
        RecipeError: If its package is not installed.
    """
    if kind == NONE:
        yield None
        return
    check_tracker(kind)
    run = _Run(kind, project, step, folder)
    guard = _Guard(lost)
    try:
        yield lambda number, figures: guard(lambda: run.tell(number, figures))
    finally:
        guard(run.close)


class _Guard:
    """Calls a tracker until it fails once: a curve is not worth a phase of training."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        self._lost = lost
        self._failed = False

    def __call__(self, call: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever a tracker's package raises; it is told
            self._failed = True
            self._lost(f"{type(error).__name__}: {error}")


class _Run:
    """A tracker's run, opened at the first point: only then is known where it goes on."""

    def __init__(self, kind: str, project: str, step: Step, folder: Path) -> None:
        self._kind, self._project, self._step, self._folder = kind, project, step, folder
        self._name = Path(step.folder).name
        self._tracker: Any = None

    def tell(self, number: int, figures: Mapping[str, float]) -> None:
        """Log one point."""
        if self._tracker is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._tracker = OPENERS[self._kind](self, number)
        values = {name: value for name, value in figures.items() if name not in LEFT_OUT}
        self._tracker.log(values, step=number)

    def close(self) -> None:
        """Finish the run, if anything was logged."""
        if self._tracker is not None:
            self._tracker.finish()

    def tensorboard(self, number: int) -> Any:
        """A folder of event files; what it holds of this step and later ones is dropped."""
        from accelerate.tracking import TensorBoardTracker

        tracker = TensorBoardTracker(self._name, logging_dir=self._folder, purge_step=number)
        tracker.start()
        tracker.log({"settings": f"```\n{self._settings}\n```"}, step=number)
        return tracker

    def wandb(self, number: int) -> Any:
        """A run whose id is the step's fingerprint."""
        from accelerate.tracking import WandBTracker

        identity = {"id": self._step.fingerprint[:16], "resume": "allow", "name": self._name}
        tracker = WandBTracker(self._project, **identity, dir=str(self._folder))
        tracker.start()
        tracker.store_init_configuration(dict(self._settings))
        return tracker

    def trackio(self, number: int) -> Any:
        """A run in trackio's own local database."""
        from accelerate.tracking import TrackioTracker

        tracker = TrackioTracker(self._project, name=self._name, resume="allow")
        tracker.start()
        tracker.store_init_configuration(dict(self._settings))
        return tracker

    def mlflow(self, number: int) -> Any:
        """A run whose id is kept in a file."""
        from accelerate.tracking import MLflowTracker

        kept = self._folder / f"{self._name}.mlflow"
        run_id = kept.read_text("utf-8") if kept.is_file() else None
        tracker = MLflowTracker(self._project, run_id=run_id, run_name=self._name)
        tracker.start()
        if run_id is None:
            tracker.store_init_configuration(dict(self._settings))
            kept.write_text(tracker.active_run.info.run_id, "utf-8")
        return tracker

    @property
    def _settings(self) -> Mapping[str, Any]:
        """Settings of the step that a tracker takes: numbers and words."""
        plain = (bool, int, float, str)
        return {k: v for k, v in self._step.settings.items() if isinstance(v, plain)}


OPENERS: Mapping[str, Callable[[_Run, int], Any]] = {
    "tensorboard": _Run.tensorboard,
    "wandb": _Run.wandb,
    "trackio": _Run.trackio,
    "mlflow": _Run.mlflow,
}
