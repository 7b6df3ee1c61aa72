"""The steps of the recovery probe: three brief retunes after the last phase, each scored.

The model is retuned on other data of a task and, beside that, on a placebo; the model from before
the loss (the reference) is retuned on the same data. A retune is an ordinary step of training.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from retain.pipeline.collector import Collector
from retain.pipeline.data_steps import NEW, RETUNE, DataSteps, of_mix
from retain.pipeline.score_steps import ScoreSteps, Weights
from retain.pipeline.training_steps import TrainingSteps
from retain.recipe import Cell, CellPart, CellPhase, Phase, Recovery
from retain.steps.step import Step

What = Literal["retuned", "base_retuned", "placebo"]
PHASE = "phase:"


@dataclass(frozen=True)
class Retune:
    """One retune of one arm and seed, and what scores it.

    Attributes:
        phase_index: Of the last phase, after which the loss is looked at.
        reference_index: Row of the model from before the loss; 0 is the base model.
        what: ``retuned`` and ``placebo`` start from the last model, ``base_retuned`` from the
            reference.
        planned: How it trains.
        evaluation: The step that scores it on the task.
    """

    variant: str
    arm: str
    seed: int
    phase_index: int
    reference_index: int
    task: str
    what: What
    planned: CellPhase
    mix: Step
    train: Step
    evaluation: Step


class RecoverySteps:
    """Makes the steps of the recovery probe.

    Args:
        collector: Where they go.
        data: The steps of data.
        training: The steps of training.
        scores: The steps of evaluation.
    """

    def __init__(
        self, collector: Collector, data: DataSteps, training: TrainingSteps, scores: ScoreSteps
    ) -> None:
        self.all = collector
        self.data, self.training, self.scores = data, training, scores

    def of_cell(self, cell: Cell, models: Mapping[str, Step]) -> Iterator[Retune]:
        """The retunes of a cell.

        Args:
            cell: The cell.
            models: Phase to what left it, in order.
        """
        last = list(models)[-1]
        for one in cell.recipe.evaluate.recovery:
            taught = one.task.removeprefix(PHASE) if one.task.startswith(PHASE) else None
            if taught is not None and taught not in models:
                continue  # in joint training nothing comes after the phase
            reference = None if taught is None else models[taught]
            index = 0 if taught is None else cell.phases[list(models).index(taught)].index
            starts: dict[What, Step | None] = {
                "retuned": models[last],
                "base_retuned": reference,
                "placebo": models[last],
            }
            for what, start in starts.items():
                yield self._retune(cell, one, what, start, index)

    def _retune(
        self, cell: Cell, one: Recovery, what: What, start: Step | None, reference_index: int
    ) -> Retune:
        planned = _planned(cell, one, what)
        mix = self._mix(cell, one, what, planned)
        train = self.training.train(_without_stops(cell), planned, mix, {"model": start}, {})
        name = f"{planned.name}-{cell.arm}"
        return Retune(
            variant=cell.variant,
            arm=cell.arm,
            seed=cell.seed,
            phase_index=cell.phases[-1].index,
            reference_index=reference_index,
            task=one.task,
            what=what,
            planned=planned,
            mix=mix,
            train=train,
            evaluation=self.scores.evaluation(cell, name, Weights(train), one.task, None),
        )

    def _mix(self, cell: Cell, one: Recovery, what: What, planned: CellPhase) -> Step:
        settings = {
            "parts": [{"role": NEW, **of_mix(planned.train)}],
            "sources": [],
            "past": {},
            "seed": cell.seed,
            "budget": "same_new_data",
        }
        inputs = {NEW: self._data(cell, one, what)}
        files = self.all.base_files(cell)
        return self.all.add("mix", planned.name, settings, inputs=inputs, files=files)

    def _data(self, cell: Cell, one: Recovery, what: What) -> Step:
        if what == "placebo":
            return self.data.data_step(RETUNE["placebo"], one.placebo, None)
        if one.data is not None:
            return self.data.data_step(RETUNE["data"], one.data, None)
        return self.data.data[cell.variant, one.task.removeprefix(PHASE)]


def _planned(cell: Cell, one: Recovery, what: What) -> CellPhase:
    """How a retune trains: as the arm's last phase, but briefly, at a rate all arms share."""
    last = cell.phases[-1]
    taught = one.task.removeprefix(PHASE)
    of_rate = taught if taught in cell.recipe.phase_names else cell.recipe.phase_names[-1]
    rate = one.learning_rate or cell.recipe.phase(of_rate).train.learning_rate
    train = last.train.changed(
        {
            "objective": "sft",  # of a text, too, every token is trained
            "max_steps": one.max_steps,
            "learning_rate": rate,
            "warmup_ratio": 0.0,
            "save_steps": None,
            "boundary_cache": None,
            "report_to": "none",
        }
    )
    source = one.placebo if what == "placebo" or one.data is None else one.data
    phase = Phase(name=last.phase.name, data=source)
    word = "placebo" if what == "placebo" else "recovery"
    return CellPhase(
        name=f"{word}-{taught}",
        index=last.index,
        train=train,
        methods=(),
        parts=(CellPart(phase=phase, train=train),),
    )


def _without_stops(cell: Cell) -> Cell:
    """The cell, but that no checkpoint inside a retune is kept."""
    evaluate = cell.recipe.evaluate.model_copy(update={"during_phase": 0})
    return replace(cell, recipe=cell.recipe.model_copy(update={"evaluate": evaluate}))
