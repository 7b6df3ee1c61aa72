"""The steps of a recipe and what each builds on; making them runs nothing and loads no library.

One cell is one arm of one seed. Its phases follow each other; arms that agree on a phase and on all
before it get the same steps, by fingerprint, and share them without being told to.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from retain.evaluate.judge import Mode
from retain.evaluate.shots import Shots
from retain.methods.given import Past, Source
from retain.pipeline.collector import Collector
from retain.pipeline.corpora import Corpora
from retain.pipeline.data_steps import DataSteps, is_of_data, written_for
from retain.pipeline.frozen import Frozen, still_frozen
from retain.pipeline.recovery_steps import RecoverySteps, Retune
from retain.pipeline.resolve import Resolved
from retain.pipeline.score_steps import ScoreSteps, Weights
from retain.pipeline.training_steps import Card, TrainingSteps
from retain.recipe import Cell, CellPhase
from retain.rehearse.corpus import Corpus
from retain.steps.step import Step
from retain.train.processes import Processes


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
        judged: Mode and task to the step in which a judge reads the answers.
        draws: Other examples in the prompt to what scores with them, by task.
        unquantised: Of a row 0 with weights of 4 bits, what scores it without, by task.
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
    judged: Mapping[tuple[Mode, str], Step] = field(default_factory=dict)
    draws: Mapping[Shots, Mapping[str, Step]] = field(default_factory=dict)
    unquantised: Mapping[str, Step] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """All steps of a recipe, inputs before what reads them, and how they make score matrices.

    Attributes:
        steps: Each once, in the order to carry them out.
        rows: By variant, arm, seed and phase.
        data: Variant and phase to its data step.
        sources: Data step to where its sources lie.
        corpora: Rehearse step to what the model shall write.
        save_steps: Train step to the optimizer steps between its snapshots; None by the clock.
        report_to: Train step to the tracker that is told of it.
        processes: Train step to how many processes carry it out, and how.
        cards: Train or finish step to what its model card says of it.
        retunes: Brief retunes after the last phase, by variant, arm and seed.
    """

    steps: tuple[Step, ...]
    rows: tuple[Row, ...]
    data: Mapping[tuple[str, str], Step]
    sources: Mapping[Step, tuple[Source, ...]]
    corpora: Mapping[Step, Corpus]
    save_steps: Mapping[Step, int | None]
    report_to: Mapping[Step, str]
    processes: Mapping[Step, Processes]
    cards: Mapping[Step, Card]
    retunes: tuple[Retune, ...] = ()


def build(resolved: Resolved, accept: Callable[[Step], bool] = lambda step: False) -> Graph:
    """The graph of a recipe whose outside facts (models, data, tasks, precision) are resolved.

    Args:
        resolved: The recipe.
        accept: Whether the result of an older version of a step may stand for it; the newest
            version that is accepted does.
    """
    return _Builder(Collector(resolved, accept)).graph()


class _Builder:
    """Walks through the phases of every cell."""

    def __init__(self, collector: Collector) -> None:
        self.all = collector
        self.data = DataSteps(collector)
        self.training = TrainingSteps(collector)
        self.scores = ScoreSteps(collector, self.data)
        self.recovery = RecoverySteps(collector, self.data, self.training, self.scores)
        self.retunes: list[Retune] = []

    def graph(self) -> Graph:
        self.data.check_leaks()
        rows = tuple(row for cell in self.all.resolved.cells for row in self.rows_of(cell))
        # what reads data alone comes first: its faults show before anything is trained
        return Graph(
            steps=tuple(sorted(self.all.steps, key=lambda step: not is_of_data(step))),
            rows=rows,
            data=self.data.data,
            sources=self.data.sources,
            corpora=self.data.corpora,
            save_steps=self.training.save_steps,
            report_to=self.training.report_to,
            processes=self.training.processes,
            cards=self.training.cards,
            retunes=tuple(self.retunes),
        )

    def rows_of(self, cell: Cell) -> Iterator[Row]:
        first = self.scores.evaluations(cell, "base", Weights(None))
        base = Row(cell.variant, cell.arm, cell.seed, 0, "base", evaluations=first)
        base = replace(base, probes=self.scores.probes(cell, None, None))
        base = replace(base, judged=self.scores.judgements(cell, "base", first, None))
        base = replace(base, draws=self.scores.draws(cell, "base", Weights(None)))
        yield replace(base, unquantised=self.scores.unquantised(cell))
        model: Step | None = None
        memories: dict[str, Step] = {}
        checkpoints: dict[str, Step] = {}
        frozen: Frozen | None = None
        corpora = Corpora()
        paid: set[Step] = set()
        for position, planned in enumerate(cell.phases):
            past = Past(phases=tuple(checkpoints))
            corpora = self.data.rehearse(cell, planned, past, model, corpora)
            mix = self.data.mix(cell, planned, past, corpora, paid)
            paid.update(written_for(mix.inputs.values(), paid))
            choice = self.training.trainable(cell, planned, model, checkpoints)
            kept = {"boundary": self.training.boundary(cell, planned, mix, model, choice)}
            kept |= {"trainable": choice, "model": model}
            frozen = still_frozen(frozen, cell.phases[position:], model, choice)
            train = self.training.train(cell, planned, mix, kept, memories)
            model = self.training.finish(cell, planned, train, checkpoints)
            checkpoints[planned.name] = model
            memories |= self.training.remember(cell, position, mix, model)
            name = f"{planned.name}-{cell.arm}"
            scored = self.scores.evaluations(cell, name, Weights(model), frozen)
            yield replace(
                base,
                phase_index=planned.index,
                phase=planned.name,
                train=train,
                mix=mix,
                model=model,
                evaluations=scored,
                inside=self.scores.inside(cell, name, train, frozen),
                planned=planned,
                probes=self.scores.probes(cell, planned, model),
                judged=self.scores.judgements(cell, name, scored, first),
                draws=self.scores.draws(cell, name, Weights(model)),
            )
        self.retunes += self.recovery.of_cell(cell, checkpoints)
