"""The steps of a recipe and what each builds on; making them runs nothing and loads no library.

One cell is one arm of one seed. Its phases follow each other; arms that agree on a phase and on all
before it get the same steps, by fingerprint, and share them without being told to.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from typing import Any, NamedTuple

from retain.evaluate.identity import identity_of
from retain.evaluate.probes import PROBES, Probe
from retain.methods.base import Method, MixSource, Past, Source, overrides
from retain.pipeline.corpora import Corpora
from retain.pipeline.frozen import IN_TRAINING, Frozen, keeps_states, still_frozen
from retain.pipeline.kinds import KINDS
from retain.pipeline.resolve import Resolved
from retain.recipe import Cell, CellPhase, Phase, Train
from retain.recipe.train import OF_ADAPTERS
from retain.steps.step import Step, as_name

NEW = "new"
NOT_OF_TRAINING = (
    "num_train_epochs", "max_steps", "batch_size", "batch_tokens", "max_length", "packing",
    "completion_only_loss",
)  # fmt: skip
"""Training settings that shape the mix alone: the train step sees them through it."""
NOT_OF_RESULTS = ("save_steps", "boundary_cache", "report_to")
"""Training settings that change no result; what is kept at a boundary shows among the inputs."""


@dataclass(frozen=True)
class Row:
    """One row of a score matrix: a checkpoint and what is scored of it.

    Attributes:
        phase_index: 0 is the base model.
        train: The step that trained the phase; None in row 0.
        mix: What it trained on; None in row 0.
        model: The step whose ``model/`` is the checkpoint (train or finish); None: the base model.
        evaluations: Task name to the step that scores it.
        inside: The same for each checkpoint kept inside the phase, in order.
        planned: The phase as the arm runs it, with the methods active in it; None in row 0.
        probes: Name of a probe to the step that measures it.
    """

    variant: str
    arm: str
    seed: int
    phase_index: int
    phase: str
    train: Step | None = None
    mix: Step | None = None
    model: Step | None = None
    evaluations: Mapping[str, Step] = field(default_factory=dict)
    inside: tuple[Mapping[str, Step], ...] = ()
    planned: CellPhase | None = None
    probes: Mapping[str, Step] = field(default_factory=dict)


class Weights(NamedTuple):
    """What is scored: a step's ``model/`` (None: the base model), or a checkpoint inside it.

    Attributes:
        place: Of the checkpoint, counted from 1; 0 for the model that the step leaves.
    """

    step: Step | None
    place: int = 0


@dataclass(frozen=True)
class Card:
    """What the README of a model folder says besides the figures.

    Attributes:
        base: The base model, by a name that is no path of this machine.
        methods: All that acted in the phase, in the mix too.
    """

    base: str
    methods: tuple[Method, ...]


@dataclass(frozen=True)
class Graph:
    """All steps of a recipe, inputs before what reads them, and how they make score matrices.

    Attributes:
        steps: Each once, in the order to carry them out.
        rows: By variant, arm, seed and phase.
        data: Variant and phase to its data step.
        sources: Data step to where its sources lie.
        save_steps: Train step to the optimizer steps between its snapshots; None by the clock.
        report_to: Train step to the tracker that is told of it.
        cards: Train or finish step to what its model card says of it.
    """

    steps: tuple[Step, ...]
    rows: tuple[Row, ...]
    data: Mapping[tuple[str, str], Step]
    sources: Mapping[Step, tuple[Source, ...]]
    save_steps: Mapping[Step, int | None]
    report_to: Mapping[Step, str]
    cards: Mapping[Step, Card]


def build(resolved: Resolved, accept: Callable[[Step], bool] = lambda step: False) -> Graph:
    """The graph of a recipe whose outside facts (models, data, tasks, precision) are resolved.

    Args:
        resolved: The recipe.
        accept: Whether the result of an older version of a step may stand for it; the newest
            version that is accepted does.
    """
    return _Builder(resolved, accept).graph()


class _Builder:
    """Collects steps; a step that is already there is not added again."""

    def __init__(self, resolved: Resolved, accept: Callable[[Step], bool]) -> None:
        self.resolved = resolved
        self.accept = accept
        self.steps: dict[Step, None] = {}
        self.data: dict[tuple[str, str], Step] = {}
        self.sources: dict[Step, tuple[Source, ...]] = {}
        self.save_steps: dict[Step, int | None] = {}
        self.report_to: dict[Step, str] = {}
        self.cards: dict[Step, Card] = {}
        self.rows: list[Row] = []

    def graph(self) -> Graph:
        for cell in self.resolved.cells:
            for phase in cell.recipe.phases:
                if (cell.variant, phase.name) not in self.data:
                    self.data[cell.variant, phase.name] = self.phase_data(phase)
        self.check_leaks()
        for cell in self.resolved.cells:
            self.rows.extend(self.rows_of(cell))
        # what reads data alone comes first: its faults show before anything is trained
        steps = tuple(sorted(self.steps, key=lambda step: not is_of_data(step)))
        rows = tuple(self.rows)
        unhashed = (self.save_steps, self.report_to, self.cards)
        return Graph(steps, rows, self.data, self.sources, *unhashed)

    def add(self, kind: str, name: str, settings: Mapping[str, Any], **parts: Any) -> Step:
        """A step of a kind, at the kind's version or at an older one that is accepted."""
        newest = KINDS[kind].version
        versions = [Step(kind, as_name(name), v, settings, **parts) for v in range(newest, 0, -1)]
        step = next((old for old in versions[1:] if self.accept(old)), versions[0])
        self.steps.setdefault(step)
        return step

    # ------------------------------------------------------------ data

    def phase_data(self, phase: Phase) -> Step:
        held_out = phase.held_out.model_dump(exclude_none=True)
        return self.data_step(phase.name, phase.data, held_out)

    def data_step(
        self, name: str, sources: Sequence[Source], held_out: Mapping[str, Any] | None
    ) -> Step:
        settings = {
            "sources": [self.resolved.source_settings(source) for source in sources],
            "held_out": held_out,
        }
        files = {
            f"{number}:{label}": digest
            for number, source in enumerate(sources)
            for label, digest in self.resolved.source_files(source).items()
        }
        step = self.add("data", name, settings, files=files)
        self.sources[step] = tuple(sources)
        return step

    def check_leaks(self) -> None:
        """A step that stops the run where a training example is also an evaluated item."""
        phases: dict[Step, bool] = {}
        stand_ins: dict[Step, None] = {}
        for cell in self.resolved.cells:
            for phase in cell.recipe.phases:
                phases[self.data[cell.variant, phase.name]] = phase.allow_overlap
            for planned in cell.phases:
                for method in planned.methods:
                    for role, sources in method.data().items():
                        stand_ins.setdefault(self.data_step(role, sources, None))
        inputs = {f"phase:{number}": step for number, step in enumerate(phases)}
        others = [step for step in stand_ins if step not in phases]
        inputs |= {f"past:{number}": step for number, step in enumerate(others)}
        settings = {
            "tasks": self.scored(),
            "allow": [f"phase:{number}" for number, step in enumerate(phases) if phases[step]],
        }
        self.add("leak", "leak", settings, inputs=inputs)

    def scored(self) -> list[dict[str, Any]]:
        """What every task is that brings its own documents."""
        tasks = self.resolved.tasks.values()
        return [identity_of(spec) for spec in tasks if spec["kind"] != "phase"]

    # ------------------------------------------------------------ one arm of one seed

    def rows_of(self, cell: Cell) -> Iterator[Row]:
        first = self.evaluations(cell, "base", Weights(None))
        base = Row(cell.variant, cell.arm, cell.seed, 0, "base", evaluations=first)
        base = replace(base, probes=self.probes(cell, None, None))
        yield base
        model: Step | None = None
        memories: dict[str, Step] = {}
        checkpoints: dict[str, Step] = {}
        frozen: Frozen | None = None
        corpora = Corpora()
        for position, planned in enumerate(cell.phases):
            past = Past(phases=tuple(checkpoints))
            corpora = self.rehearse(cell, planned, past, model, corpora)
            mix = self.mix(cell, planned, past, corpora)
            choice = self.trainable(cell, planned, model, checkpoints)
            kept = {"boundary": self.boundary(cell, planned, mix, model, choice)}
            kept |= {"trainable": choice, "model": model}
            frozen = still_frozen(frozen, cell.phases[position:], model, choice)
            train = self.train(cell, planned, mix, kept, memories)
            model = self.finish(cell, planned, train, checkpoints)
            checkpoints[planned.name] = model
            memories |= self.remember(cell, position, mix, model)
            name = f"{planned.name}-{cell.arm}"
            yield replace(
                base,
                phase_index=planned.index,
                phase=planned.name,
                train=train,
                mix=mix,
                model=model,
                evaluations=self.evaluations(cell, name, Weights(model), frozen),
                inside=self.inside(cell, name, train, frozen),
                planned=planned,
                probes=self.probes(cell, planned, model),
            )

    def rehearse(
        self,
        cell: Cell,
        planned: CellPhase,
        past: Past,
        model: Step | None,
        before: Corpora,
    ) -> Corpora:
        """The corpora written by this phase and before, this one's written now."""
        found = before
        for method in planned.methods:
            corpus = method.rehearse(past) if overrides(method, "rehearse") else None
            if corpus is None:
                continue
            inputs = self.asked_about(cell, planned, past, method, corpus.data)
            files = {}
            if corpus.writer == "previous" and model is not None:
                inputs["model"] = model
            else:
                files["model"] = self.resolved.model(cell)["sha256"]
            settings: dict[str, Any] = {
                "methods": [method.spec_of_corpus()],
                "seed": cell.seed,
                "precision": self.resolved.precision("auto"),
            }
            if "model" not in inputs and cell.phases[0].train.tuning == "qlora":
                settings["quantisation"] = "nf4"  # what the first phase starts from
            name = f"{corpus.name}-{planned.name if inputs else 'base'}"
            written = self.add("rehearse", name, settings, inputs=inputs, files=files)
            found = found.with_one(method, corpus.name, self.sift(name, written))
        return found

    def asked_about(
        self, cell: Cell, planned: CellPhase, past: Past, method: Method, roles: Sequence[str]
    ) -> dict[str, Step]:
        """The data that a corpus asks about, by role."""
        found: dict[str, Step] = {}
        for role in roles:
            if role == NEW:
                found |= self.new_data(cell, planned)
            elif role == "past":
                found |= {of: self.data[cell.variant, phase] for phase, of in past.data.items()}
            else:
                found[role] = self.data_step(role, method.data()[role], None)
        return found

    def sift(self, name: str, written: Step) -> Step:
        """A corpus without what gives away an evaluated item."""
        phases = dict.fromkeys(self.data.values())
        inputs = {"written": written}
        inputs |= {f"phase:{number}": step for number, step in enumerate(phases)}
        return self.add("sift", name, {"tasks": self.scored()}, inputs=inputs)

    def new_data(self, cell: Cell, planned: CellPhase) -> dict[str, Step]:
        """The data of a phase by its role in the mix; of joined phases, each by its own."""
        if len(planned.parts) == 1:
            return {NEW: self.data[cell.variant, planned.phase.name]}
        names = [part.phase.name for part in planned.parts]
        return {f"{NEW}:{name}": self.data[cell.variant, name] for name in names}

    def mix(self, cell: Cell, planned: CellPhase, past: Past, corpora: Corpora) -> Step:
        inputs = self.new_data(cell, planned)
        parts = [
            {"role": role, **_of_mix(part.train)}
            for role, part in zip(inputs, planned.parts, strict=True)
        ]
        sources: list[MixSource] = []
        for number, method in enumerate(planned.methods):
            rng = generator(cell.seed, planned.name, method.name, str(number))
            turns = [one.name for one in cell.phases if method in one.methods]
            seen = replace(past, turn=turns.index(planned.name), num_turns=len(turns))
            rehearsed = corpora.of(method)
            sources.extend(method.sources(seen, tuple(rehearsed), rng))
            used = {role for source in sources for role in source.roles}
            inputs |= {role: step for role, step in rehearsed.items() if role in used}
            for role, data in method.data().items():
                if role in used:
                    inputs[role] = self.data_step(role, data, None)
        objectives = {}
        drawn = {role for source in sources for role in source.roles}
        for phase, role in past.data.items():
            if role in drawn:
                inputs[role] = self.data[cell.variant, phase]
                objectives[role] = _of_mix(cell.recipe.phase(phase).train)
        settings = {
            "parts": parts,
            "sources": [source.spec() for source in sources],
            "past": objectives,
            "seed": cell.seed,
            "budget": cell.recipe.budget if sources else "same_new_data",
        }
        if settings["budget"] == "same_total_tokens":
            settings["budget_counts"] = "trained_tokens"  # an earlier version counted all tokens
        files = {"model": self.resolved.model(cell)["sha256"]}
        name = f"{planned.name}-{cell.arm}" if sources else planned.name
        return self.add("mix", name, settings, inputs=inputs, files=files)

    def trainable(
        self,
        cell: Cell,
        planned: CellPhase,
        model: Step | None,
        checkpoints: Mapping[str, Step],
    ) -> Step | None:
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
        files = {"model": self.resolved.model(cell)["sha256"]}
        name = f"{planned.name}-{cell.arm}"
        return self.add("trainable", name, settings, inputs=inputs, files=files)

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
        precision = self.resolved.precision(planned.train.precision)
        settings = {"precision": precision, "stored": precision}
        inputs = {"mix": mix, "trainable": choice}
        if model is not None:
            inputs["model"] = model
        files = {} if model is not None else {"model": self.resolved.model(cell)["sha256"]}
        name = f"{planned.name}-{cell.arm}"
        return self.add("boundary", name, settings, inputs=inputs, files=files)

    def train(
        self,
        cell: Cell,
        planned: CellPhase,
        mix: Step,
        start: Mapping[str, Step | None],
        memories: Mapping[str, Step],
    ) -> Step:
        acting = [m for m in planned.methods if any(overrides(m, hook) for hook in IN_TRAINING)]
        settings = {
            key: value
            for key, value in planned.train.model_dump().items()
            if key not in (*NOT_OF_TRAINING, *NOT_OF_RESULTS, *OF_ADAPTERS) and value is not None
        }
        settings |= planned.train.of_adapter
        settings |= {
            "precision": self.resolved.precision(planned.train.precision),
            "seed": cell.seed,
            "methods": [method.spec() for method in acting],
        }
        if during := cell.recipe.evaluate.during_phase:
            settings["during_phase"] = during
        if acting:  # their draws are named after the phase
            settings["phase"] = planned.name
        inputs = {"mix": mix} | {role: step for role, step in start.items() if step is not None}
        if any(overrides(m, "penalty") or overrides(m, "project") or overrides(m, "after_step")
               for m in acting):  # fmt: skip
            inputs |= memories
        files = {} if "model" in inputs else {"model": self.resolved.model(cell)["sha256"]}
        written = [
            phase.train for phase in self.resolved.recipe.phases if phase.name == planned.name
        ]
        plain = not planned.methods and planned.train in written
        name = planned.name if plain else f"{planned.name}-{cell.arm}"
        step = self.add("train", name, settings, inputs=inputs, files=files)
        self.save_steps.setdefault(step, planned.train.save_steps)
        self.report_to.setdefault(step, planned.train.report_to)
        self.cards.setdefault(step, Card(self.resolved.model_name(cell), planned.methods))
        return step

    def finish(
        self,
        cell: Cell,
        planned: CellPhase,
        train: Step,
        checkpoints: Mapping[str, Step],
    ) -> Step:
        finishing = [method for method in planned.methods if overrides(method, "finish")]
        if not finishing:
            return train
        settings = {
            "methods": [method.spec() for method in finishing],
            "phase": planned.name,
            "history": list(checkpoints),
        }
        inputs = _checkpoint_inputs(train, checkpoints)
        files = {"model": self.resolved.model(cell)["sha256"]}
        name = f"{planned.name}-{cell.arm}"
        step = self.add("finish", name, settings, inputs=inputs, files=files)
        self.cards.setdefault(step, Card(self.resolved.model_name(cell), planned.methods))
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
                        "precision": self.resolved.precision(planned.train.precision),
                    }
                    found[role] = self.add(
                        "remember",
                        f"{planned.name}-{method.name}",
                        settings,
                        inputs={"mix": mix, "model": model},
                    )
        return found

    # ------------------------------------------------------------ scores

    def evaluations(
        self, cell: Cell, name: str, weights: Weights, frozen: Frozen | None = None
    ) -> dict[str, Step]:
        found = {}
        for task in self.resolved.scored[cell.variant]:
            found[task] = self.evaluation(cell, name, weights, task, frozen)
        return found

    def inside(
        self, cell: Cell, name: str, train: Step, frozen: Frozen | None
    ) -> tuple[dict[str, Step], ...]:
        """What scores the checkpoints kept inside a phase."""
        places = range(1, cell.recipe.evaluate.during_phase + 1)
        return tuple(
            self.evaluations(cell, f"{name}-inside-{place}", Weights(train, place), frozen)
            for place in places
        )

    def evaluation(
        self, cell: Cell, name: str, weights: Weights, task: str, frozen: Frozen | None
    ) -> Step:
        model = weights.step
        spec = self.resolved.tasks[task]
        evaluate = cell.recipe.evaluate
        settings = {
            "task": identity_of(spec),
            "num_fewshot": sorted(set(evaluate.num_fewshot)),
            "limit": evaluate.limit,
            "compat": evaluate.compat,
            "precision": self.resolved.precision("auto"),
        }
        if model is None and cell.phases[0].train.tuning == "qlora":
            settings["quantisation"] = "nf4"  # row 0 is what the first phase starts from
        inputs: dict[str, Step] = {}
        if model is not None:
            inputs["model"] = model
        if spec["kind"] == "phase":
            inputs["data"] = self.data[cell.variant, task.removeprefix("phase:")]
        files = {} if model is not None else {"model": self.resolved.model(cell)["sha256"]}
        step_name = f"{task.removeprefix('phase:')}-{name}"
        if frozen is not None and spec.get("output_type") != "generate_until":
            inputs["boundary"] = self.task_boundary(cell, step_name, settings, inputs, frozen)
            for number, choice in enumerate(frozen.choices):
                inputs[f"trainable:{number}"] = choice
        if weights.place:  # what frozen blocks make is the same at every place
            settings = {**settings, "checkpoint": weights.place}
        return self.add("evaluate", step_name, settings, inputs=inputs, files=files)

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
        settings: dict[str, Any] = {"probe": name, "probe_version": probe.version}
        inputs: dict[str, Step] = {}
        files = {}
        if model is not None:
            inputs["model"] = model
        if planned is not None and probe.reads_data:
            inputs |= self.new_data(cell, planned)
        if model is None or not probe.of_base:
            files["model"] = self.resolved.model(cell)["sha256"]
            if cell.phases[0].train.tuning == "qlora":
                settings["quantisation"] = "nf4"  # row 0 is what the first phase starts from
        row = "base" if planned is None else f"{planned.name}-{cell.arm}"
        return self.add("probe", f"{name}-{row}", settings, inputs=inputs, files=files)

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
            files["model"] = self.resolved.model(cell)["sha256"]
        else:
            read["model"] = frozen.start
        settings = {**settings, "stored": settings["precision"]}
        return self.add("task_boundary", name, settings, inputs=read, files=files)


def is_of_data(step: Step) -> bool:
    """Whether a step reads data alone, and no model is trained or asked before it."""
    return step.kind in ("data", "leak", "mix") and not any(
        one.kind == "sift" for one in step.inputs.values()
    )


def generator(seed: int, *names: str) -> Random:
    """A consumer's own generator: from the seed and its name, and from nothing else."""
    text = "/".join((str(seed), *names))
    return Random(int.from_bytes(sha256(text.encode()).digest()[:8], "big"))


def _of_mix(train: Train) -> dict[str, Any]:
    """The training settings that shape a mix."""
    values = {key: getattr(train, key) for key in ("objective", *NOT_OF_TRAINING)}
    return {key: value for key, value in values.items() if value is not None}


def _checkpoint_inputs(model: Step | None, checkpoints: Mapping[str, Step]) -> dict[str, Step]:
    inputs = {f"checkpoint:{phase}": step for phase, step in checkpoints.items()}
    return inputs if model is None else {**inputs, "model": model}
