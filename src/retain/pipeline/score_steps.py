"""The steps that look at a checkpoint: scores, probes, what frozen blocks make of a task."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from retain.evaluate.identity import identity_of
from retain.evaluate.judge import Mode
from retain.evaluate.probes import PROBES, Probe
from retain.evaluate.shots import FIRST, Shots
from retain.pipeline.collector import Collector
from retain.pipeline.data_steps import DataSteps
from retain.pipeline.frozen import Frozen
from retain.recipe import Cell, CellPhase
from retain.steps.step import Step


class Weights(NamedTuple):
    """What is scored: a step's ``model/`` (None: the base model), or a checkpoint inside it.

    Attributes:
        place: Of the checkpoint, counted from 1; 0 for the model that the step leaves.
        unquantised: The base model in full precision, though the arm starts from 4 bits.
    """

    step: Step | None
    place: int = 0
    unquantised: bool = False


class ScoreSteps:
    """Makes the steps of evaluation.

    Args:
        collector: Where they go.
        data: The steps of data, which tasks of phases read.
    """

    def __init__(self, collector: Collector, data: DataSteps) -> None:
        self.all = collector
        self.data = data

    def evaluations(
        self, cell: Cell, name: str, weights: Weights, frozen: Frozen | None = None
    ) -> dict[str, Step]:
        """What scores one checkpoint, by task."""
        found = {}
        for task in self.all.resolved.scored[cell.variant]:
            found[task] = self.evaluation(cell, name, weights, task, frozen)
        return found

    def unquantised(self, cell: Cell) -> dict[str, Step]:
        """What scores the base model in full precision, by task, where row 0 has 4 bits."""
        if not self.all.of_base(cell):
            return {}
        return self.evaluations(cell, "base-unquantised", Weights(None, unquantised=True))

    def inside(
        self, cell: Cell, name: str, train: Step, frozen: Frozen | None
    ) -> tuple[dict[str, Step], ...]:
        """What scores the checkpoints kept inside a phase."""
        places = range(1, cell.recipe.evaluate.during_phase + 1)
        return tuple(
            self.evaluations(cell, f"{name}-inside-{place}", Weights(train, place), frozen)
            for place in places
        )

    def draws(self, cell: Cell, name: str, weights: Weights) -> dict[Shots, dict[str, Step]]:
        """What scores one checkpoint with other examples in the prompt, by task."""
        scored = self.all.resolved.scored[cell.variant]
        return {
            shots: {
                task: self.evaluation(cell, f"{name}-{_told(shots)}", weights, task, None, shots)
                for task, numbers in scored.items()
                if any(numbers) and takes_shots(self.all.resolved.tasks[task])
            }
            for shots in cell.recipe.evaluate.further_shots
        }

    def evaluation(
        self,
        cell: Cell,
        name: str,
        weights: Weights,
        task: str,
        frozen: Frozen | None,
        shots: Shots = FIRST,
    ) -> Step:
        """One checkpoint on one task; with other examples only where there are any."""
        model = weights.step
        spec = self.all.resolved.tasks[task]
        evaluate = cell.recipe.evaluate
        numbers = self.all.resolved.scored[cell.variant][task]
        settings = {
            "task": identity_of(spec),
            "num_fewshot": sorted(k for k in {*numbers} if k or shots == FIRST),
            "limit": evaluate.limit,
            "compat": evaluate.compat,
            "precision": self.all.resolved.precision("auto"),
            **shots.settings,
        }
        if model is None and not weights.unquantised:
            settings |= self.all.of_base(cell)
        inputs: dict[str, Step] = {}
        if model is not None:
            inputs["model"] = model
        if spec["kind"] == "phase":
            inputs["data"] = self.data.data[cell.variant, task.removeprefix("phase:")]
        files = {} if model is not None else self.all.base_files(cell)
        step_name = f"{task.removeprefix('phase:')}-{name}"
        if frozen is not None and spec.get("output_type") != "generate_until":
            inputs["boundary"] = self.task_boundary(cell, step_name, settings, inputs, frozen)
            for number, choice in enumerate(frozen.choices):
                inputs[f"trainable:{number}"] = choice
        if weights.place:  # what frozen blocks make is the same at every place
            settings = {**settings, "checkpoint": weights.place}
        return self.all.add("evaluate", step_name, settings, inputs=inputs, files=files)

    def probes(self, cell: Cell, planned: CellPhase | None, model: Step | None) -> dict[str, Step]:
        """The measurements inside one checkpoint that the recipe asks for."""
        return {
            name: self.probe(cell, planned, model, name, PROBES[name])
            for name in cell.recipe.evaluate.probes
            if planned is not None or PROBES[name].of_base
        }

    def probe(
        self, cell: Cell, planned: CellPhase | None, model: Step | None, name: str, probe: Probe
    ) -> Step:
        """One measurement inside one checkpoint."""
        settings: dict[str, Any] = {"probe": name, "probe_version": probe.version}
        inputs: dict[str, Step] = {}
        files = {}
        if model is not None:
            inputs["model"] = model
        if planned is not None and probe.reads_data:
            inputs |= self.data.new_data(cell, planned)
        if model is None or not probe.of_base:
            files = self.all.base_files(cell)
            settings |= self.all.of_base(cell)
        row = "base" if planned is None else f"{planned.name}-{cell.arm}"
        return self.all.add("probe", f"{name}-{row}", settings, inputs=inputs, files=files)

    def judgements(
        self, cell: Cell, name: str, answers: Mapping[str, Step], rivals: Mapping[str, Step] | None
    ) -> dict[tuple[Mode, str], Step]:
        """What a judge says of a checkpoint's answers, by mode and task.

        Args:
            cell: Whose recipe names the judge.
            name: Of the checkpoint.
            answers: What wrote them, by task.
            rivals: What wrote the base model's; None for the base model itself.
        """
        judge = cell.recipe.evaluate.judge
        found: dict[tuple[Mode, str], Step] = {}
        for task in () if judge is None else judge.tasks:
            for mode in () if judge is None else judge.modes:
                if mode == "pairwise" and rivals is None:
                    continue
                inputs = {"answers": answers[task]}
                if mode == "pairwise" and rivals is not None:
                    inputs["rival"] = rivals[task]
                found[mode, task] = self.judgement(cell, f"{task}-{name}", task, mode, inputs)
        return found

    def judgement(
        self, cell: Cell, name: str, task: str, mode: Mode, inputs: Mapping[str, Step]
    ) -> Step:
        """What a judge says of one checkpoint's answers to one task."""
        judge = cell.recipe.evaluate.judge
        assert judge is not None
        settings = {"task": identity_of(self.all.resolved.tasks[task]), **judge.settings(mode)}
        files = {}
        if self.all.resolved.judge:
            settings["precision"] = self.all.resolved.precision("auto")
            files["judge"] = self.all.resolved.judge["sha256"]
        inputs = dict(inputs)
        if task.startswith("phase:"):
            inputs["data"] = self.data.data[cell.variant, task.removeprefix("phase:")]
        name = f"{mode}-{name.removeprefix('phase:')}"
        return self.all.add("judge", name, settings, inputs=inputs, files=files)

    def task_boundary(
        self,
        cell: Cell,
        name: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Step],
        frozen: Frozen,
    ) -> Step:
        """What blocks that stay frozen over several phases make of all that a task scores."""
        read = {role: step for role, step in inputs.items() if role != "model"}
        read["trainable"] = frozen.choices[0]
        files = {}
        if frozen.start is None:
            files = self.all.base_files(cell)
        else:
            read["model"] = frozen.start
        settings = {**settings, "stored": settings["precision"]}
        return self.all.add("task_boundary", name, settings, inputs=read, files=files)


def _told(shots: Shots) -> str:
    """A draw in the names of steps."""
    return f"draw-{shots.draw}" + "-shuffled" * shots.shuffled


def takes_shots(spec: Mapping[str, Any]) -> bool:
    """Whether a task can have examples in its prompt, as far as its file says."""
    if spec["kind"] in ("stereoset", "instructions"):
        return False
    is_text = spec.get("output_type") == "loglikelihood_rolling"
    return not is_text and spec.get("metric") != "bits_per_byte"
