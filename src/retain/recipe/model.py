"""A recipe as frozen, typed objects: which model, which phases, which arms, what is scored.

Shorthands (a source written as a string, an arm written as a list) become the long form on
reading. What concerns several parts at once (an arm that names a phase) is in ``checks.py``.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from retain.errors import RecipeError
from retain.evaluate.probes import ProbeName
from retain.evaluate.shots import Shots
from retain.methods.given import Sources
from retain.recipe.arm import Arm, Budget
from retain.recipe.faults import Fault, refuse, refuse_one, unknown
from retain.recipe.judge import Judge
from retain.recipe.recovery import Recovery
from retain.recipe.train import Flag, Name, Number, Part, Text, Train, Whole
from retain.recipe.yaml_text import write

GENERAL = (
    *("embedded_boolq", "embedded_piqa", "english_bits_per_byte"),
    "verifiable_instructions",
)


class HeldOut(Part):
    """What of a phase's data is never trained on, and scored as the task ``phase:<name>``."""

    fraction: Number | None = Field(default=None, gt=0, lt=1)
    """Part of the source items; 0.1 where `count` is not given either."""
    count: Whole | None = Field(default=None, ge=1)
    """Source items, instead of a part."""
    group_by: Text | None = None
    """A column whose equal values stay together (translations, passages)."""

    @model_validator(mode="before")
    @classmethod
    def _default(cls, values: Any) -> Any:
        given = values if isinstance(values, Mapping) else {"fraction": 0}
        if given.get("fraction") is None and given.get("count") is None:
            return {**given, "fraction": 0.1}
        return values

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.fraction is not None and self.count is not None:
            refuse([Fault(("count",), "fraction is given too; give one of them")])
        return self


class Phase(Part):
    """One stretch of training."""

    name: Name
    """Its name in tables, overrides and `phase:<name>`."""
    data: Sources
    """A source (`embedded:NAME`, a file or folder, `path#1000`, a hub id), or a list of them."""
    train: Train = Field(default_factory=Train)
    """How it trains."""
    held_out: HeldOut = Field(default_factory=HeldOut)
    """What is kept back for its own task."""
    language: str | None = Field(default=None, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")
    """ISO 639 code of the data's language, for the report; none: recognised."""
    allow_overlap: Flag = False
    """`true` goes on, with a warning, where a training example equals an evaluated item."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        shares = [source.share for source in self.data]
        total = sum(share for share in shares if share is not None)
        if total > 1 + 1e-9:
            refuse([Fault(("data",), f"the sources' shares add up to {total:g}; at most 1")])
        if None not in shares and total < 1 - 1e-9:
            refuse([Fault(("data",), f"the sources' shares add up to {total:g}; they must give 1")])
        if None in shares and total > 1 - 1e-9:
            text = "the sources' shares add up to 1 and leave nothing for the source without one"
            refuse([Fault(("data",), text)])
        return self


NumFewshot = Annotated[tuple[Annotated[Whole, Field(ge=0)], ...], Field(min_length=1)]


class NamedTask(Part):
    """Known tasks at other numbers of shots than `evaluate.num_fewshot`."""

    name: Text
    """A task, a group, or `phases`."""
    num_fewshot: NumFewshot
    """Their numbers of shots."""


class OwnTest(Part):
    """A test of the user's own."""

    name: Name
    """Its name in tables."""
    data: Text
    """A file, folder or other source, in any known format."""
    metric: Literal[
        "exact_match", "choice", "chrf", "bleu", "rouge_1", "rouge_l", "sari", "bits_per_byte"
    ]
    """How an answer is scored."""
    num_fewshot: NumFewshot | None = None
    """Its numbers of shots; none: those of `evaluate`."""


def _task(value: Any) -> Any:
    if isinstance(value, str | NamedTask | OwnTest):
        if value == "":
            refuse_one("must be the name of a task; got ''")
        return value
    if isinstance(value, Mapping):
        is_own = "num_fewshot" not in value or not {"data", "metric"}.isdisjoint(value)
        return (OwnTest if is_own else NamedTask).model_validate(value)
    return refuse_one(
        f"must be a task's name, {{name, num_fewshot}} or {{name, data, metric}}; got {value!r}"
    )


AnyTask = str | NamedTask | OwnTest
Task = Annotated[AnyTask, BeforeValidator(_task, json_schema_input_type=AnyTask)]


def called(task: AnyTask) -> str:
    """The name in an entry of ``evaluate.tasks``."""
    return task if isinstance(task, str) else task.name


class Evaluate(Part):
    """What is scored after every phase, and on row 0."""

    tasks: tuple[Task, ...] = Field(default=("phases", "general"), min_length=1)
    """`phases` (every phase's held-out split), groups, lm-eval's tasks, tests of one's own."""
    groups: dict[Name, Annotated[tuple[Text, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    """Tasks whose scores are averaged under one name; `general` is there unless redefined."""
    num_fewshot: NumFewshot = (0,)
    """Numbers of shots; every task is scored at each, unless its entry has its own."""
    fewshot_draws: Whole = Field(default=1, ge=1, le=16)
    """Draws of the examples in the prompt; every number of shots above 0 is scored with each."""
    fewshot_control: Flag = False
    """Score them with the examples' answers permuted too: whether form or content helps."""
    limit: Whole | None = Field(default=None, ge=1)
    """Items per task, the first of a fixed order; none scores all."""
    compat: Literal["lm-eval"] | None = None
    """`lm-eval` takes the harness's own few-shot draws and its first items."""
    during_phase: Whole = Field(default=0, ge=0)
    """Checkpoints kept and scored inside each phase, at equal parts of its optimizer steps."""
    include_path: Text | None = None
    """A folder with lm-eval task files of one's own."""
    probes: tuple[ProbeName, ...] = ()
    """Measurements inside the model, after each phase: `attention` and `drift`; none by default."""
    judge: Judge | None = None
    """A model that reads the written answers; none by default."""
    recovery: tuple[Recovery, ...] = ()
    """Brief retunes after the last phase: whether what a task lost comes back; none by default."""

    @model_validator(mode="before")
    @classmethod
    def _general(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        groups, tasks = values.get("groups", {}), values.get("tasks", ("phases", "general"))
        named = [
            one.get("name") if isinstance(one, Mapping) else one
            for one in (tasks if isinstance(tasks, list | tuple) else ())
        ]
        wanted = "general" in named
        if wanted and isinstance(groups, Mapping) and "general" not in groups:
            return {**values, "groups": {**groups, "general": list(GENERAL)}}
        return values

    @property
    def further_shots(self) -> tuple[Shots, ...]:
        """Every way to take examples beside the first draw with its own answers."""
        kinds = (False, True) if self.fewshot_control else (False,)
        every = [Shots(draw, kind) for draw in range(self.fewshot_draws) for kind in kinds]
        return tuple(shots for shots in every if shots != Shots())

    @property
    def own_tests(self) -> tuple[OwnTest, ...]:
        """The tests of the user's own."""
        return tuple(task for task in self.tasks if isinstance(task, OwnTest))

    def task_names(self, phases: tuple[str, ...]) -> tuple[str, ...]:
        """Every task that is scored, once, groups and ``phases`` written out."""
        return tuple(self.shots_by_task(phases))

    def shots_by_task(self, phases: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """The same with the numbers of shots of each, by the first entry that names it."""
        found: dict[str, tuple[int, ...]] = {}
        for task in self.tasks:
            for name in self.members(task, phases):
                found.setdefault(name, self.shots_of(task))
        return found

    def shots_of(self, task: AnyTask) -> tuple[int, ...]:
        """The numbers of shots of one entry of ``tasks``."""
        own = None if isinstance(task, str) else task.num_fewshot
        return self.num_fewshot if own is None else own

    def members(self, task: AnyTask, phases: tuple[str, ...]) -> tuple[str, ...]:
        """The tasks that one entry of ``tasks`` stands for."""
        if isinstance(task, OwnTest):
            return (task.name,)
        name = called(task)
        if name == "phases":
            return tuple(f"phase:{phase}" for phase in phases)
        return self.groups.get(name, (name,))


class Rehearse(Part):
    """How a model writes what methods rehearse."""

    engine: Literal["retain", "vllm"] = "retain"
    """What writes: `retain` itself, or `vllm` on a GPU, whose sampled texts are other ones."""


class Choose(Part):
    """How the verdict picks the arm to ship, on `select` items."""

    learnt: str = Field(default=">= 0.9 of best", pattern=r"^>= (0(\.[0-9]+)?|1(\.0+)?) of best$")
    """What an arm must have learnt to be considered, as a part of the best arm's."""
    then: Literal["least change_from_base", "least forgetting"] = "least change_from_base"
    """What decides among those."""

    @property
    def learnt_fraction(self) -> float:
        """The number in ``learnt``, 0..1."""
        return float(self.learnt.split()[1])


class Gate(Part):
    """A condition that ends the run with exit code 2."""

    measure: Literal[
        "score", "change_from_base", "forgetting", "backward_transfer", "forward_transfer",
        "average_score", "learning_score", "learnt",
    ]  # fmt: skip
    """A measure of the report."""
    task: Text | None = None
    """The task it is of; this or `group`."""
    group: Text | None = None
    """The group it is of; this or `task`."""
    arms: tuple[Text, ...] | None = None
    """Arms it holds for; none: all."""
    below: Number | None = None
    """The gate fails when the value is below this."""
    above: Number | None = None
    """The gate fails when the value is above this."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.below is None and self.above is None:
            refuse([Fault(("below",), "is missing: give below or above, or both")])
        if self.task is not None and self.group is not None:
            refuse([Fault(("group",), "task is given too; give one of them")])
        return self


class Keep(Part):
    """What stays on disk."""

    models: Literal["chosen", "last", "all"] = "last"
    """Models named in `models/`: the chosen arm's, each arm's last, or all; none is removed."""
    optimizer: Literal["until_phase_ends"] = "until_phase_ends"
    """Snapshots with optimizer state are removed when their phase is finished."""


class Recipe(Part):
    """A whole recipe; :func:`retain.recipe.load_recipe` reads and checks one."""

    name: Name
    """Name of the run's folder, `runs/<name>/`."""
    model: Text
    """`embedded:NAME`, a hub id, a folder, or a .gguf file."""
    revision: Text | None = None
    """Commit or tag of a hub model; none pins the one found first."""
    phases: tuple[Phase, ...] = Field(min_length=1)
    """What is learnt, in this order."""
    evaluate: Evaluate = Field(default_factory=lambda: Evaluate.model_validate({}))
    """What is scored."""
    arms: dict[Name, Arm] = Field(default_factory=lambda: {"none": Arm()}, min_length=1)
    """What is compared; an arm is a list of methods, or `{methods, train, budget, from_phase}`."""
    seeds: tuple[Annotated[Whole, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    """Every arm is run once a seed."""
    budget: Budget = "same_new_data"
    """What every arm gets alike: the new examples, the trained tokens in all, or all computing."""
    rehearse: Rehearse = Field(default_factory=Rehearse)
    """How a model writes what methods rehearse."""
    choose: Choose = Field(default_factory=Choose)
    """How the verdict picks an arm."""
    fail_if: tuple[Gate, ...] = ()
    """Gates; one that comes true ends the run with exit code 2."""
    keep: Keep = Field(default_factory=Keep)
    """What stays on disk."""
    variants: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    """For studies: name to `model`, `revision`, `order`, `arms`, or dotted `phases.…` values."""
    sweep: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Dotted name to values; every arm is run with each."""

    @property
    def phase_names(self) -> tuple[str, ...]:
        """The phases' names in order."""
        return tuple(phase.name for phase in self.phases)

    def phase(self, name: str) -> Phase:
        """The phase of this name.

        Raises:
            RecipeError: If there is none.
        """
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise RecipeError(unknown("phase", name, self.phase_names))

    def task_names(self) -> tuple[str, ...]:
        """Every task that is scored, groups and ``phases`` written out."""
        return self.evaluate.task_names(self.phase_names)

    def resolved(self) -> dict[str, Any]:
        """Every value, defaults and overrides applied; reading it gives this recipe again."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """What ``resolved`` gives, as the text of a recipe file."""
        return write(self.resolved())
