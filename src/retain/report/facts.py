"""How a run came about: curves, what moved, samples, corpora, costs, data, probes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from retain.report.scores import Checkpoint, Items, ScoreRow


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
        seconds: Of training, and of what the arm's methods did before it: writing corpora (in
            the first phase that reads them), choosing what moves, keeping what does not; without
            evaluation.
        moving: What a method let move; None where everything, or an adapter, did.
        token_passes: What the model computed in training, and before it in writing what is trained
            on (in the first phase that reads it), as ``retain.data.mix`` counts it; None where an
            earlier retain wrote and did not count.
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
    token_passes: int | None = None


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
        likeness: Of each phase: its name, how like its data the corpus is, and how like each other
            the halves of that data are; 1 is alike.
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
    likeness: tuple[tuple[str, float, float], ...] = ()
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


class Verdicts(NamedTuple):
    """What a judge found of one item.

    Attributes:
        values: In pairs ``first`` and ``second`` (see `retain.measure.judge`) and ``alike``, 1
            where the two answers are the same; else criterion to points.
    """

    source_item: str
    values: Mapping[str, int]


class Said(NamedTuple):
    """What a judge was shown of one item and said of it; all texts are hostile.

    Attributes:
        rival: The base model's answer; empty where points were asked for.
        reasons: In both orders, the answer shown first and second; one text for points.
    """

    asked: str
    answer: str
    rival: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a judge found of one checkpoint's answers to one task.

    Attributes:
        mode: ``pairwise`` (with the base model's answers) or ``rubric``.
        judge: Name of the judge.
        found: Hash of a `report` item to its verdicts.
        num_unreadable: Answers without a verdict that could be read.
        num_cut: Answers whose question is not kept whole.
        said: Hash of an item to what was said of it.
    """

    checkpoint: Checkpoint
    phase: str
    task: str
    mode: str
    judge: str
    found: Mapping[str, Verdicts]
    num_unreadable: int
    num_cut: int
    said: Mapping[str, Said] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Retuned:
    """What a brief retune after the last phase scored on the task it was made for.

    Attributes:
        checkpoint: The model whose loss is looked at: of the last phase.
        reference_index: Row of the model from before the loss; 0 is the base model.
        what: ``retuned``, ``base_retuned`` (the reference) or ``placebo``.
        max_steps: Optimizer steps of the retune.
        score: Of `report` items, by the task's main metric at its fewest shots.
        items: Behind it; None for a metric of the whole corpus.
    """

    checkpoint: Checkpoint
    phase: str
    reference_index: int
    what: str
    max_steps: int
    score: ScoreRow
    items: Items | None


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
