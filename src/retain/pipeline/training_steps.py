"""The steps that make a phase's model: what moves, training, what is kept, what leaves it."""

from collections.abc import Mapping
from dataclasses import dataclass

from retain.methods.base import Method, overrides
from retain.pipeline.collector import Collector
from retain.pipeline.data_steps import NOT_OF_TRAINING
from retain.pipeline.frozen import IN_TRAINING, keeps_states
from retain.recipe import Cell, CellPhase
from retain.recipe.train import OF_ADAPTERS
from retain.steps.step import Step
from retain.train.processes import Processes

NOT_OF_RESULTS = ("save_steps", "boundary_cache", "report_to", "processes", "shard")
"""Training settings that change no result; what is kept at a boundary shows among the inputs."""
NEW_ADAPTERS = ("new_adapter", "merge_then_new")
"""Handovers whose adapter is drawn anew, and shall not be that of the phase before again."""


@dataclass(frozen=True)
class Card:
    """What the README of a model folder says besides the figures.

    Attributes:
        base: The base model, by a name that is no path of this machine.
        methods: All that acted in the phase, in the mix too.
    """

    base: str
    methods: tuple[Method, ...]


class TrainingSteps:
    """Makes the steps of training.

    Args:
        collector: Where they go.

    Attributes:
        save_steps: Train step to the optimizer steps between its snapshots; None by the clock.
        report_to: Train step to the tracker that is told of it.
        processes: Train step to how many processes carry it out, and how.
        cards: Train or finish step to what its model card says of it.
    """

    def __init__(self, collector: Collector) -> None:
        self.all = collector
        self.save_steps: dict[Step, int | None] = {}
        self.report_to: dict[Step, str] = {}
        self.processes: dict[Step, Processes] = {}
        self.cards: dict[Step, Card] = {}

    def trainable(
        self,
        cell: Cell,
        planned: CellPhase,
        model: Step | None,
        checkpoints: Mapping[str, Step],
    ) -> Step | None:
        """Which parameters move, where a method chooses them."""
        choosing = [method for method in planned.methods if overrides(method, "trainable")]
        if not choosing:
            return None
        settings = {
            "methods": [method.spec() for method in choosing],
            "seed": cell.seed,
            "phase": planned.name,
            "history": list(checkpoints),
        }
        inputs = _checkpoint_inputs(model, checkpoints)
        files = self.all.base_files(cell)
        name = f"{planned.name}-{cell.arm}"
        return self.all.add("trainable", name, settings, inputs=inputs, files=files)

    def boundary(
        self,
        cell: Cell,
        planned: CellPhase,
        mix: Step,
        model: Step | None,
        choice: Step | None,
    ) -> Step | None:
        """What the blocks that do not move make of the mix, where it is worth keeping."""
        if choice is None or not keeps_states(planned):
            return None
        precision = self.all.resolved.precision(planned.train.precision)
        settings = {"precision": precision, "stored": precision}
        inputs = {"mix": mix, "trainable": choice}
        if model is not None:
            inputs["model"] = model
        files = {} if model is not None else self.all.base_files(cell)
        name = f"{planned.name}-{cell.arm}"
        return self.all.add("boundary", name, settings, inputs=inputs, files=files)

    def train(
        self,
        cell: Cell,
        planned: CellPhase,
        mix: Step,
        start: Mapping[str, Step | None],
        memories: Mapping[str, Step],
    ) -> Step:
        """The training of a phase."""
        acting = [m for m in planned.methods if any(overrides(m, hook) for hook in IN_TRAINING)]
        settings = {
            key: value
            for key, value in planned.train.model_dump().items()
            if key not in (*NOT_OF_TRAINING, *NOT_OF_RESULTS, *OF_ADAPTERS) and value is not None
        }
        if not planned.train.deterministic:  # older steps do not say it
            del settings["deterministic"]
        settings |= planned.train.of_adapter
        settings |= {
            "precision": self.all.resolved.precision(planned.train.precision),
            "seed": cell.seed,
            "methods": [method.spec() for method in acting],
        }
        if during := cell.recipe.evaluate.during_phase:
            settings["during_phase"] = during
        if acting or settings.get("handover") in NEW_ADAPTERS:
            settings["phase"] = planned.name  # what they draw is named after it
        inputs = {"mix": mix} | {role: step for role, step in start.items() if step is not None}
        if any(overrides(m, "penalty") or overrides(m, "project") or overrides(m, "after_step")
               for m in acting):  # fmt: skip
            inputs |= memories
        files = {} if "model" in inputs else self.all.base_files(cell)
        written = [
            phase.train for phase in self.all.resolved.recipe.phases if phase.name == planned.name
        ]
        plain = not planned.methods and planned.train in written
        name = planned.name if plain else f"{planned.name}-{cell.arm}"
        step = self.all.add("train", name, settings, inputs=inputs, files=files)
        self.save_steps.setdefault(step, planned.train.save_steps)
        self.report_to.setdefault(step, planned.train.report_to)
        together = Processes(planned.train.processes, planned.train.shard)
        self.processes.setdefault(step, together)
        self.cards.setdefault(step, Card(self.all.resolved.model_name(cell), planned.methods))
        return step

    def finish(
        self,
        cell: Cell,
        planned: CellPhase,
        train: Step,
        checkpoints: Mapping[str, Step],
    ) -> Step:
        """What leaves the phase: the step that a method finishes with, or the training itself."""
        finishing = [method for method in planned.methods if overrides(method, "finish")]
        if not finishing:
            return train
        settings = {
            "methods": [method.spec() for method in finishing],
            "phase": planned.name,
            "history": list(checkpoints),
        }
        inputs = _checkpoint_inputs(train, checkpoints)
        files = self.all.base_files(cell)
        name = f"{planned.name}-{cell.arm}"
        step = self.all.add("finish", name, settings, inputs=inputs, files=files)
        self.cards.setdefault(step, Card(self.all.resolved.model_name(cell), planned.methods))
        return step

    def remember(self, cell: Cell, position: int, mix: Step, model: Step) -> dict[str, Step]:
        """What methods of later phases keep of this one."""
        planned = cell.phases[position]
        found: dict[str, Step] = {}
        for later in cell.phases[position + 1 :]:
            for method in later.methods:
                if overrides(method, "remember"):
                    role = f"memory:{method.name}:{planned.name}"
                    settings = {
                        "methods": [method.spec()],
                        "seed": cell.seed,
                        "phase": planned.name,
                        "phase_index": planned.index,
                        "precision": self.all.resolved.precision(planned.train.precision),
                    }
                    found[role] = self.all.add(
                        "remember",
                        f"{planned.name}-{method.name}",
                        settings,
                        inputs={"mix": mix, "model": model},
                    )
        return found


def _checkpoint_inputs(model: Step | None, checkpoints: Mapping[str, Step]) -> dict[str, Step]:
    inputs = {f"checkpoint:{phase}": step for phase, step in checkpoints.items()}
    return inputs if model is None else {**inputs, "model": model}
