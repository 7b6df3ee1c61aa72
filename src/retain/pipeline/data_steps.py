"""The steps that make what is learnt: data, corpora that a model writes, the mix of a phase."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Any

from retain.errors import RecipeError
from retain.evaluate.identity import identity_of
from retain.methods.base import Method, overrides
from retain.methods.given import MixSource, Past, Source
from retain.pipeline.collector import Collector
from retain.pipeline.corpora import Corpora
from retain.recipe import Cell, CellPhase, Train, data_of
from retain.rehearse.corpus import HERE, Corpus
from retain.steps.step import Step

NEW = "new"
RETUNE = {"data": "recovery", "placebo": "placebo"}
"""How the data steps of a brief retune are called."""
NOT_OF_TRAINING = (
    "num_train_epochs", "max_steps", "batch_size", "batch_tokens", "batch_trained_tokens",
    "max_length", "packing", "completion_only_loss",
)  # fmt: skip
"""Training settings that shape the mix alone: the train step sees them through it."""


class DataSteps:
    """Makes the steps of data.

    Args:
        collector: Where they go.

    Attributes:
        data: Variant and phase to its data step.
        sources: Data step to where its sources lie.
        corpora: Rehearse step to what the model shall write.
    """

    def __init__(self, collector: Collector) -> None:
        self.all = collector
        self.data: dict[tuple[str, str], Step] = {}
        self.sources: dict[Step, tuple[Source, ...]] = {}
        self.corpora: dict[Step, Corpus] = {}
        for cell in collector.resolved.cells:
            for phase in cell.recipe.phases:
                if (cell.variant, phase.name) not in self.data:
                    held_out = phase.held_out.model_dump(exclude_none=True)
                    made = self.data_step(phase.name, phase.data, held_out)
                    self.data[cell.variant, phase.name] = made

    def data_step(
        self, name: str, sources: Sequence[Source], held_out: Mapping[str, Any] | None
    ) -> Step:
        """The examples of some sources, with a part held out or not."""
        settings = {
            "sources": [self.all.resolved.source_settings(source) for source in sources],
            "held_out": held_out,
        }
        files = {
            f"{number}:{label}": digest
            for number, source in enumerate(sources)
            for label, digest in self.all.resolved.source_files(source).items()
        }
        step = self.all.add("data", name, settings, files=files)
        self.sources[step] = tuple(sources)
        return step

    def check_leaks(self) -> None:
        """A step that stops the run where a training example is also an evaluated item."""
        phases: dict[Step, bool] = {}
        stand_ins: dict[Step, None] = {}
        for cell in self.all.resolved.cells:
            for phase in cell.recipe.phases:
                phases[self.data[cell.variant, phase.name]] = phase.allow_overlap
            for planned in cell.phases:
                for method in planned.methods:
                    for role, sources in method.data().items():
                        stand_ins.setdefault(self.data_step(role, sources, None))
            for one in cell.recipe.evaluate.recovery:
                for role, sources in data_of(one).items():
                    stand_ins.setdefault(self.data_step(RETUNE[role], sources, None))
        inputs = {f"phase:{number}": step for number, step in enumerate(phases)}
        others = [step for step in stand_ins if step not in phases]
        inputs |= {f"past:{number}": step for number, step in enumerate(others)}
        settings = {
            "tasks": self.scored(),
            "allow": [f"phase:{number}" for number, step in enumerate(phases) if phases[step]],
        }
        self.all.add("leak", "leak", settings, inputs=inputs)

    def scored(self) -> list[dict[str, Any]]:
        """What every task is that brings its own documents."""
        tasks = self.all.resolved.tasks.values()
        return [identity_of(spec) for spec in tasks if spec["kind"] != "phase"]

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
                files = self.all.base_files(cell)
            settings: dict[str, Any] = {
                "methods": [method.spec_of_corpus()],
                "seed": cell.seed,
                "precision": self.all.resolved.precision("auto"),
            }
            if "model" not in inputs:
                settings |= self.all.of_base(cell)
            if cell.recipe.rehearse.engine != HERE:
                settings["engine"] = cell.recipe.rehearse.engine
            name = f"{corpus.name}-{planned.name if inputs else 'base'}"
            written = self.all.add("rehearse", name, settings, inputs=inputs, files=files)
            if self.corpora.setdefault(written, corpus) != corpus:
                raise RecipeError(
                    f"{method.name}: its corpus is another one in phase '{planned.name}' than "
                    "before, and nothing that the step is known by says so; let it follow from "
                    "the method's own fields and the data it asks about"
                )
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
        return self.all.add("sift", name, {"tasks": self.scored()}, inputs=inputs)

    def new_data(self, cell: Cell, planned: CellPhase) -> dict[str, Step]:
        """The data of a phase by its role in the mix; of joined phases, each by its own."""
        if len(planned.parts) == 1:
            return {NEW: self.data[cell.variant, planned.phase.name]}
        names = [part.phase.name for part in planned.parts]
        return {f"{NEW}:{name}": self.data[cell.variant, name] for name in names}

    def mix(
        self, cell: Cell, planned: CellPhase, past: Past, corpora: Corpora, paid: Set[Step]
    ) -> Step:
        """What a phase trains on, in order.

        Args:
            cell: The arm.
            planned: The phase.
            past: The phases before it.
            corpora: What was written for it and before.
            paid: Corpora whose writing an earlier phase of the cell has paid for.
        """
        inputs = self.new_data(cell, planned)
        parts = [
            {"role": role, **of_mix(part.train)}
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
                objectives[role] = of_mix(cell.recipe.phase(phase).train)
        settings = {
            "parts": parts,
            "sources": [source.spec() for source in sources],
            "past": objectives,
            "seed": cell.seed,
            "budget": cell.budget if sources else "same_new_data",
        }
        if settings["budget"] == "same_total_compute":
            inputs |= {f"paid:{one.name}": one for one in written_for(inputs.values(), paid)}
        if settings["budget"] == "same_total_tokens":
            settings["budget_counts"] = "trained_tokens"  # an earlier version counted all tokens
        files = self.all.base_files(cell)
        name = f"{planned.name}-{cell.arm}" if sources else planned.name
        return self.all.add("mix", name, settings, inputs=inputs, files=files)


def written_for(read: Iterable[Step], paid: Set[Step]) -> tuple[Step, ...]:
    """The steps that wrote what a mix reads, but for those that are paid already."""
    written = dict.fromkeys(one.inputs["written"] for one in read if one.kind == "sift")
    return tuple(one for one in written if one not in paid)


def is_of_data(step: Step) -> bool:
    """Whether a step reads data alone, and no model is trained or asked before it."""
    return step.kind in ("data", "leak", "mix") and not any(
        one.kind == "sift" for one in step.inputs.values()
    )


def generator(seed: int, *names: str) -> Random:
    """A consumer's own generator: from the seed and its name, and from nothing else."""
    text = "/".join((str(seed), *names))
    return Random(int.from_bytes(sha256(text.encode()).digest()[:8], "big"))


def of_mix(train: Train) -> dict[str, Any]:
    """The training settings that shape a mix."""
    values = {key: getattr(train, key) for key in ("objective", *NOT_OF_TRAINING)}
    return {key: value for key, value in values.items() if value is not None}
