"""What a run measured, as plain data: all that the report reads, and nothing else.

Whoever ran the steps fills a `Results`; the report never opens the store, a model or a file.
Rows, items and facts are told apart by the same names everywhere: variant, arm, seed, phase index
(0 is the base model), task, metric, num_fewshot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PHASE_TASK = "phase:"
"""What the name of a phase's own held-out task starts with."""

BASE_PHASE = "base"
"""What scores.csv calls the phase of row 0."""


class TaskKey(NamedTuple):
    """One way to score one task."""

    task: str
    metric: str
    num_fewshot: int


class Checkpoint(NamedTuple):
    """One arm of one seed after one phase; phase_index 0 is the base model."""

    variant: str
    arm: str
    seed: int
    phase_index: int


class ItemKey(NamedTuple):
    """Where a set of scored items belongs."""

    checkpoint: Checkpoint
    task: TaskKey


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One score: the columns of scores.csv, and what the page needs beside them.

    Attributes:
        phase: Name of the phase just done; "base" for row 0.
        value: In ``unit``, as the metric gives it (not turned round).
        stderr: Of the value, in ``unit``; None where it is not known.
        role: "report" rows are printed; "select" rows serve the choice only.
        unit: "fraction" for accuracies, "bits_per_byte", "chrf" and so on.
        chance: Score of guessing on these items; None where there is no such thing.
        majority: Score of always giving the commonest answer on these items; None likewise.
    """

    variant: str
    arm: str
    seed: int
    phase_index: int
    phase: str
    task: str
    metric: str
    num_fewshot: int
    value: float
    stderr: float | None
    num_items: int
    higher_is_better: bool
    is_main: bool
    role: str = "report"
    unit: str = "fraction"
    chance: float | None = None
    majority: float | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that was scored."""
        return Checkpoint(self.variant, self.arm, self.seed, self.phase_index)

    @property
    def key(self) -> TaskKey:
        """Which task, by which metric, at how many shots."""
        return TaskKey(self.task, self.metric, self.num_fewshot)


@dataclass(frozen=True, kw_only=True)
class InsideScore(ScoreRow):
    """One score of a checkpoint inside a phase: the columns of during.csv.

    Attributes:
        optimizer_step: Of the phase, after which the checkpoint was kept.
        part: How much of the phase that is, such as "25%".
    """

    optimizer_step: int
    part: str


@dataclass(frozen=True, kw_only=True)
class Items:
    """The scored items behind one score; all arrays have one entry per item.

    Attributes:
        hashes: sha256 of each document; what pairs two checkpoints.
        roles: "select" or "report".
        groups: Source item; items of one group are resampled together.
        values: Above the line of the score: 1 or 0 for an accuracy, bits for bits per byte.
        weights: Below the line: bytes for bits per byte; None means 1 each.
    """

    hashes: NDArray[np.str_]
    roles: NDArray[np.str_]
    groups: NDArray[np.str_]
    values: Floats
    weights: Floats | None = None

    def of_role(self, role: str) -> "Items":
        """The items of one role, ordered by hash so that nothing depends on the file's order."""
        (index,) = np.nonzero(self.roles == role)
        index = index[np.argsort(self.hashes[index], kind="stable")]
        return Items(
            hashes=self.hashes[index],
            roles=self.roles[index],
            groups=self.groups[index],
            values=self.values[index],
            weights=None if self.weights is None else self.weights[index],
        )


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One model, order or data set under the arms.

    Attributes:
        name: As in the variant column; "default" when the recipe names none.
        model: Reference of the base model.
        phases: Names in the order taught.
    """

    name: str
    model: str
    phases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One list of methods that is compared.

    Attributes:
        methods: Names of its methods, and of a tuning that only it has; empty for plain training
            (at whatever rate).
        description: One line for the reader, such as "experience_replay, share 0.05".
        base_arm: Name in the recipe, where a sweep made several arms of one; empty: ``name``.
        swept: The sweep's names and values that this arm was run with.
        part: How much of the last phase it was trained on, where it is one of the checkpoints
            inside (see `stops`); empty for all of it.
    """

    name: str
    methods: tuple[str, ...] = ()
    description: str = ""
    base_arm: str = ""
    swept: tuple[tuple[str, Any], ...] = ()
    part: str = ""

    @property
    def is_reference(self) -> bool:
        """Whether it trains on all phases at once: shown for comparison, never chosen."""
        return "joint" in self.methods

    @property
    def is_plain(self) -> bool:
        """Whether it is plain sequential fine-tuning, without any remedy."""
        return all(method == "none" for method in self.methods)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Training loss along one phase.

    Attributes:
        steps: Optimizer steps, from 0.
        losses: Mean loss per trained token, in nats.
    """

    checkpoint: Checkpoint
    phase: str
    steps: Sequence[int]
    losses: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Moving:
    """Which parameters a method let move in one phase, layer by layer, and what it chose them by.

    Attributes:
        selected: How the method was to choose, such as "most_changed"; empty where it says nothing.
        scored_by: What the scores are; empty without any.
        parts: Kind of part (``attention``, a matrix) to the fraction that moves in each layer, None
            where a layer has no such part.
        scores: What was ranked (``layer``, or a matrix) to its score in each layer.
        outside: Embeddings, final norm and head, to the fraction that moves.
    """

    selected: str
    scored_by: str
    parts: tuple[tuple[str, tuple[float | None, ...]], ...]
    scores: tuple[tuple[str, tuple[float | None, ...]], ...]
    outside: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class TrainFacts:
    """What one train step did; tokens are trained tokens (their loss counts).

    Attributes:
        generated_tokens: Rehearsed by the model itself.
        seconds: Of training, and of writing the corpora it rehearses; without evaluation.
        moving: What a method let move; None where everything, or an adapter, did.
    """

    checkpoint: Checkpoint
    phase: str
    new_tokens: int
    old_tokens: int
    generated_tokens: int
    steps: int
    learning_rate: float
    trainable_parameters: int
    total_parameters: int
    seconds: float
    device: str
    precision: str
    moving: Moving | None = None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One answer of one checkpoint to one held-out prompt; all three texts are hostile."""

    checkpoint: Checkpoint
    task: str
    prompt: str
    reference: str
    response: str


class Question(NamedTuple):
    """One scored item as people read it; both texts are hostile."""

    prompt: str
    target: str


class Answer(NamedTuple):
    """What a checkpoint made of a question.

    Attributes:
        text: The choice taken or the text written; empty where it is not known. Hostile.
        margin: Log-probability of the right choice less that of the best wrong one, in nats; NaN
            without choices.
    """

    text: str
    margin: float


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """One corpus that a model wrote; samples are hostile.

    Attributes:
        step: The step that wrote it.
        num_documents: Mixed in, at most: what filters and leaks left.
        tokens_written: By the model, what was removed included.
        removed: What was removed, why, and how many.
        diversity: Measures in words, with their values.
        samples: The first documents.
        removed_samples: Why, and the text.
    """

    name: str
    step: str
    num_documents: int
    num_tokens: int
    tokens_written: int
    removed: tuple[tuple[str, str, int], ...] = ()
    diversity: tuple[tuple[str, float], ...] = ()
    samples: tuple[str, ...] = ()
    removed_samples: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Made:
    """What one model was made from: steps by their folders in the store.

    Attributes:
        start: The step whose model the phase started with; empty for the base model.
        data: Steps whose examples it was trained on.
    """

    variant: str
    arm: str
    seed: int
    phase_index: int
    phase: str
    model: str
    start: str
    data: tuple[str, ...]


class Cost(NamedTuple):
    """What all steps of a kind took, each once."""

    kind: str
    num_steps: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """One source of data.

    Attributes:
        role: What it served for: "phase medicine", "replay (general)", "evaluation".
        source: As written in the recipe.
        notes: Whatever a reader must know: possibly memorised, overlaps, machine-translated.
    """

    role: str
    source: str
    licence: str
    num_train: int
    num_held_out: int
    languages: str = ""
    sha256: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProbeFacts:
    """What one probe found inside one checkpoint.

    Attributes:
        probe: Name of the probe.
        content: Its ``probe.json``.
    """

    checkpoint: Checkpoint
    phase: str
    probe: str
    content: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Results:
    """A whole run.

    Attributes:
        name: The recipe's.
        recipe: The resolved recipe; ``choose`` and ``fail_if`` are read from it.
        run_folder: As the user would type it.
        groups: Recipe's groups: name to tasks.
        scores: Every score, of both roles.
        items: Items of both roles; a score without items gets no interval.
        models: Kept model folders, as the user would type them.
        environment: Versions, device, threads; shown as they are.
        command: What repeats the run.
        notes: Warnings of the run, such as mixed devices.
        questions: Main metric to the hash of each `report` item to its texts.
        answers: The same of every checkpoint's answers.
        corpora: What models wrote to be trained on.
        lineage: What each model was made from.
        costs: Seconds by kind of step.
        inside: Every score of a checkpoint inside a phase, of both roles.
        inside_items: The items of these, under the name of the stop (`stop_name`).
    """

    name: str
    recipe: Mapping[str, Any]
    run_folder: str
    variants: tuple[Variant, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    groups: Mapping[str, tuple[str, ...]]
    scores: tuple[ScoreRow, ...]
    items: Mapping[ItemKey, Items] = field(default_factory=dict)
    models: Mapping[Checkpoint, str] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    training: tuple[TrainFacts, ...] = ()
    samples: tuple[Sample, ...] = ()
    probes: tuple[ProbeFacts, ...] = ()
    data: tuple[DataFacts, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    notes: tuple[str, ...] = ()
    questions: Mapping[TaskKey, Mapping[str, Question]] = field(default_factory=dict)
    answers: Mapping[ItemKey, Mapping[str, Answer]] = field(default_factory=dict)
    corpora: tuple[Corpus, ...] = ()
    lineage: tuple[Made, ...] = ()
    costs: tuple[Cost, ...] = ()
    inside: tuple[InsideScore, ...] = ()
    inside_items: Mapping[ItemKey, Items] = field(default_factory=dict)

    def of_role(self, role: str) -> "Results":
        """The same run with the scores and items of one role; the others are gone.

        Everything printed is made from ``of_role("report")``; the choice of an arm is made from
        ``of_role("select")``.
        """
        return replace(
            self,
            scores=tuple(row for row in self.scores if row.role == role),
            items={key: items.of_role(role) for key, items in self.items.items()},
            inside=tuple(row for row in self.inside if row.role == role),
            inside_items={key: items.of_role(role) for key, items in self.inside_items.items()},
        )


def stop_name(arm: str, part: str) -> str:
    """Name of an arm that stopped inside the last phase.

    >>> stop_name("low_rate", "25%")
    'low_rate@25%'
    """
    return f"{arm}@{part}"


def phase_task(phase: str) -> str:
    """Name of the task made of a phase's held-out split.

    >>> phase_task("medicine")
    'phase:medicine'
    """
    return PHASE_TASK + phase
