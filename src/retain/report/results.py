"""What a run measured, as plain data: all that the report reads, and nothing else.

Whoever ran the steps fills a `Results`; the report never opens the store, a model or a file.
Rows, items and facts are told apart by the same names everywhere: variant, arm, seed, phase index
(0 is the base model), task, metric, num_fewshot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from retain.evaluate.shots import Shots
from retain.report.facts import (
    Answer,
    Corpus,
    Cost,
    Curve,
    DataFacts,
    Judged,
    Made,
    ProbeFacts,
    Question,
    Retuned,
    Sample,
    TrainFacts,
)
from retain.report.given import Given
from retain.report.scores import Checkpoint, InsideScore, ItemKey, Items, ScoreRow, TaskKey


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One model, order or data set under the arms.

    Attributes:
        name: As in the variant column; "default" when the recipe names none.
        model: Reference of the base model.
        phases: Names in the order taught.
        arms: Names of those that are run in it; empty: all.
    """

    name: str
    model: str
    phases: tuple[str, ...]
    arms: tuple[str, ...] = ()


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
class LostArm:
    """An arm that the recipe has and the tables have not, because a step of it failed.

    Attributes:
        reason: Which step, and what it said, in one line; empty where that is nobody's business.
    """

    arm: Arm
    reason: str

    @property
    def told(self) -> str:
        """The reason as a sentence for people."""
        return self.reason or "A step of it failed."


@dataclass(frozen=True, kw_only=True)
class Results:
    """A whole run.

    Attributes:
        name: The recipe's.
        recipe: The resolved recipe; ``choose`` and ``fail_if`` are read from it.
        run_folder: As the user would type it.
        groups: Recipe's groups: name to tasks.
        scores: Every score, of both roles.
        harness_groups: Scores of lm-eval's groups, of `report` items; in scores.csv alone.
        items: Items of both roles; a score without items gets no interval.
        models: Kept model folders, as the user would type them.
        environment: Versions, device, threads; shown as they are.
        command: What repeats the run.
        notes: Warnings of the run, such as mixed devices.
        questions: Main metric to the hash of each `report` item to its texts.
        answers: The same of every checkpoint's answers.
        given: Which answers every checkpoint gave to `report` items with choices, those inside the
            last phase under the name of the stop.
        corpora: What models wrote to be trained on.
        lineage: What each model was made from.
        costs: Seconds by kind of step.
        inside: Every score of a checkpoint inside a phase, of both roles.
        inside_items: The items of these, under the name of the stop (`stop_name`).
        lost: Arms of the recipe that failed; nothing else here knows of them.
        judged: What a judge found of written answers to `report` items.
        retuned: Scores after brief retunes, on `report` items.
        draws: Other examples in the prompt to the items scored with them.
    """

    name: str
    recipe: Mapping[str, Any]
    run_folder: str
    variants: tuple[Variant, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    groups: Mapping[str, tuple[str, ...]]
    scores: tuple[ScoreRow, ...]
    harness_groups: tuple[ScoreRow, ...] = ()
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
    given: Mapping[ItemKey, Given] = field(default_factory=dict)
    corpora: tuple[Corpus, ...] = ()
    lineage: tuple[Made, ...] = ()
    costs: tuple[Cost, ...] = ()
    inside: tuple[InsideScore, ...] = ()
    inside_items: Mapping[ItemKey, Items] = field(default_factory=dict)
    lost: tuple[LostArm, ...] = ()
    judged: tuple[Judged, ...] = ()
    retuned: tuple[Retuned, ...] = ()
    draws: Mapping[Shots, Mapping[ItemKey, Items]] = field(default_factory=dict)

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
            draws={
                shots: {key: items.of_role(role) for key, items in scored.items()}
                for shots, scored in self.draws.items()
            },
        )
