"""What a method is: a few hooks, each returning a value, none changing what it is given.

A method is one file: a frozen dataclass whose fields are its hyper-parameters. It overrides the
hooks where it acts and leaves the rest alone; an arm is a list of methods, and the pipeline and
the training loop call each hook of each method of the arm that is active in the phase. Nothing is
kept between phases except what a hook returned and its step saved.

Words of torch appear in annotations only, so that a recipe is read without loading torch.

Shapes: T tokens of a packed row, R rows of it that predict a trained token, D width, V vocabulary.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from retain.errors import RecipeError
from retain.rehearse.corpus import Corpus

if TYPE_CHECKING:
    import torch

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
ShareOf = Literal["examples", "trained_tokens"]
ShareBase = Literal["final_mix", "new_data"]
LossWeight = Literal["by_token", "by_example", "match_share"]
MixSelect = Literal["any", "reservoir", "nearest", "farthest", "parallel"]

OF_MIX = ("share", "share_of", "share_base", "loss_weight", "allow_fewer", "corpora")
"""Keys that say what the mix does with a corpus: they leave no trace in the step that writes it."""
HOOKS = (
    "plan",
    "rehearse",
    "sources",
    "prepare",
    "trainable",
    "penalty",
    "project",
    "after_step",
    "remember",
    "finish",
)


class MethodError(RecipeError):
    """Values of a method that cannot be; ``faults`` holds (field, message), all of them."""

    def __init__(self, method: str, faults: Sequence[tuple[str, str]]) -> None:
        self.method = method
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{method}.{name}: {message}" for name, message in faults))


# ---------------------------------------------------------------- data, as a recipe names it


class Source(BaseModel):
    """One data source of a phase, or of a declared past."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: str = Field(min_length=1)
    """`embedded:NAME`, a file or folder (`path#1000` takes a seeded sample), or a hub id."""
    split: str | None = None
    """The split to read where the source has several; none takes its training split."""
    share: float | None = Field(default=None, gt=0, le=1, strict=True)
    """Its part of the phase's examples; none: as many as it has."""
    loss_weight: LossWeight | None = None
    """What it weighs in the loss; none: every trained token alike (`by_token`)."""
    sample: int | None = Field(default=None, ge=1, strict=True)
    """Examples to draw, seeded; none takes all."""
    format: str | None = None
    """One of the known formats; none recognises it by the columns."""
    parallel: str | None = None
    """A column with the same in another language, for replay by `select: parallel`."""


def _sources(data: Any) -> Any:
    """One source, or a list of them, each perhaps only its name: sources, all alike."""
    if not isinstance(data, str | Source | Mapping | list | tuple):
        text = f"must be a source, such as embedded:NAME or a file, or a list of them; got {data!r}"
        raise PydanticCustomError("retain", "{message}", {"message": text})
    listed = data if isinstance(data, list | tuple) else [data]
    spelt = [{"source": one} if isinstance(one, str) else one for one in listed]
    return TypeAdapter(tuple[Source, ...]).validate_python(spelt)


Sources = Annotated[
    tuple[Source, ...],
    Field(min_length=1),
    BeforeValidator(_sources, json_schema_input_type=str | Source | list[str | Source]),
]


class DeclaredPast(BaseModel):
    """Data that stands in for what the model learnt before, where the true past is not at hand."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: Sources
    """A source, or a list of them, as in a phase."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """Its name in tables; none takes the last word of the first source."""

    @property
    def role(self) -> str:
        """``extra:<name>``, the name under which the mix knows this data.

        >>> DeclaredPast(data="embedded:xsum").role
        'extra:xsum'
        """
        last = self.data[0].source.split("#")[0].rstrip("/").replace(":", "/").split("/")[-1]
        return "extra:" + "".join(
            c if c.isalnum() or c in "._-" else "-" for c in self.name or last
        )


# ---------------------------------------------------------------- what the hooks are given and give


@dataclass(frozen=True, kw_only=True)
class Part:
    """The data of one phase of the recipe, and the training settings that phase asks for."""

    phase: str
    train: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PlannedPhase:
    """One stretch of training: what it trains on and how.

    Attributes:
        name: The phase's name in tables.
        index: Its row in the score matrix, counted from 1; ``joint`` is the last row.
        train: Effective training settings (HF's names). ``max_steps`` is absent where the steps
            follow from epochs.
        parts: Whose data it trains on: itself alone, or several phases. With several, each part
            draws the examples its own phase would draw, with its own objective's mask, and they
            are dealt evenly over all steps: the sum of the parts' steps.
        notes: Sentences for the reader of the plan and the report.
    """

    name: str
    index: int
    train: Mapping[str, Any]
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Past:
    """The phases before this one, oldest first: ``phases`` in the order they were learnt.

    ``data`` gives each the role of its data step in the mix (``past:<phase>``).

    Attributes:
        turn: How many phases the method has acted in before this one.
        num_turns: How many it acts in altogether.
    """

    phases: tuple[str, ...] = ()
    turn: int = 0
    num_turns: int = 1

    @property
    def data(self) -> Mapping[str, str]:
        """Phase to role.

        >>> Past(phases=("medicine",)).data
        {'medicine': 'past:medicine'}
        """
        return {phase: f"past:{phase}" for phase in self.phases}


@dataclass(frozen=True, kw_only=True)
class MixSource:
    """One extra source of a mix.

    Attributes:
        role: ``past:<phase>``, ``extra:<name>``, ``rehearsed:<name>``, or a name of its own where
            ``pool`` says whose data it is.
        share: Its size, 0..1, in units of ``share_of``, relative to ``share_base``. Shares of all
            methods of an arm add up and refer to the one final mix. None: ``num_examples``.
        share_of: What is counted.
        share_base: The whole that the share is of: the final mix, or the new data alone.
        loss_weight: What the source weighs in the loss.
        num_examples: Its size as a number of examples, instead of a share.
        skip: Examples that are passed over, because an earlier phase had them.
        pool: Roles whose examples together are this source; () is the role itself.
        select: Which of them: ``any``, a seeded order of all; ``reservoir``, as many as
            ``buffer_size`` says, kept by chance as they went by; ``nearest`` or ``farthest`` to the
            new data; ``parallel``, the other side of the new data's pairs.
        buffer_size: Of a reservoir.
        allow_fewer: Take what there is, with a note, where that is less than asked.
    """

    role: str
    share: float | None = None
    share_of: ShareOf = "examples"
    share_base: ShareBase = "final_mix"
    loss_weight: LossWeight = "match_share"
    num_examples: int | None = None
    skip: int = 0
    pool: tuple[str, ...] = ()
    select: MixSelect = "any"
    buffer_size: int | None = None
    allow_fewer: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles whose data it reads."""
        return self.pool or (self.role,)

    def spec(self) -> dict[str, Json]:
        """The settings that enter the mix step; what says nothing is left out."""
        said = (
            {"share", "share_of", "share_base", "loss_weight"}
            if self.share is not None
            else {"loss_weight"}
        )
        values: dict[str, Json] = {"role": self.role}
        for one in fields(self)[1:]:
            value = getattr(self, one.name)
            if one.name in said or value != one.default:
                values[one.name] = list(value) if isinstance(value, tuple) else value
        return values


@dataclass(frozen=True, kw_only=True)
class Block:
    """One decoder block: its parameters' names by kind, with bias terms beside their weights."""

    index: int
    attention: tuple[str, ...] = ()
    mlp: tuple[str, ...] = ()
    norm: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every parameter of the block."""
        return self.attention + self.mlp + self.norm + self.other


@dataclass(frozen=True, kw_only=True)
class Layers:
    """A decoder without its weights: which parameter stands where.

    Names are those of ``model.named_parameters()``, each tensor once, in this order: embeddings,
    blocks from input to output, final norm, head, other.

    Attributes:
        blocks: The decoder blocks in order.
        embeddings: Token (and position) embeddings.
        final_norm: The norm between the last block and the head.
        head: The output projection; () when it is tied, for it then has no name of its own.
        other: What none of these holds.
        tied: Whether the head is the embedding's tensor.
        sizes: Numbers in each parameter.
    """

    blocks: tuple[Block, ...]
    embeddings: tuple[str, ...] = ()
    final_norm: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    tied: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every parameter, in the order of the class."""
        inner = tuple(name for block in self.blocks for name in block.names)
        return self.embeddings + inner + self.final_norm + self.head + self.other


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """The parameters that move, and the numbers behind the choice (shown to the user)."""

    names: tuple[str, ...]
    numbers: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tokenised:
    """One training sequence: ``trained`` marks the tokens that are targets of the loss."""

    id: str
    input_ids: tuple[int, ...]
    trained: tuple[bool, ...]

    def labels(self) -> list[int]:
        """The tokens as transformers' ``labels``: -100 where no loss counts.

        >>> Tokenised(id="a", input_ids=(5, 6), trained=(False, True)).labels()
        [-100, 6]
        """
        pairs = zip(self.input_ids, self.trained, strict=True)
        return [token if counts else -100 for token, counts in pairs]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What one method kept of one earlier phase: named tensors and examples."""

    phase: str = ""
    tensors: "Mapping[str, torch.Tensor]" = field(default_factory=dict)
    examples: tuple[Tokenised, ...] = ()


@dataclass(frozen=True, kw_only=True)
class History:
    """The weights so far; each mapping reads a tensor from disk when it is asked for.

    Attributes:
        base: The model before phase 1, by parameter name.
        checkpoints: Phase name to weights, oldest first. In ``finish`` the last one is what this
            phase's training has just made; in ``trainable`` it is what the phase starts from.
    """

    base: "Mapping[str, torch.Tensor]"
    checkpoints: "Mapping[str, Mapping[str, torch.Tensor]]" = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One micro-batch: a packed row of documents that do not see each other.

    Attributes:
        inputs: Keyword arguments that call the model on it (``input_ids``, ``position_ids``, ...).
        rows: int64 R, positions of the row whose hidden state predicts a trained token.
        targets: int64 R, those tokens.
        weights: float32 R, what each weighs in the loss, before division by the step's total.
    """

    inputs: Mapping[str, Any]
    rows: "torch.Tensor"
    targets: "torch.Tensor"
    weights: "torch.Tensor"


# ---------------------------------------------------------------- the method


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is done to forget less; the base of every method, doing nothing itself.

    A hook that is not overridden is not called (see :func:`overrides`). ``rng`` is a generator of
    the hook's own, seeded by the run's seed, the phase and the method: the same call gives the
    same answer, and no other consumer shifts it. Make torch's with
    ``torch.Generator().manual_seed(rng.getrandbits(63))``.

    Attributes:
        phases: Where it acts: ``after_first`` (from the second phase on, or from the arm's
            ``from_phase``; in a recipe of one phase, in that one), ``all``, or phases by name.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1  # raise it when the same settings give other results
    needs_past: ClassVar[bool] = False  # refused in a first phase, unless `past` is declared
    chooses_trainable: ClassVar[bool] = False  # two of these in one arm are refused
    with_encoder: ClassVar[bool] = False  # its hooks that call the model know encoders (T5)

    phases: Literal["after_first", "all"] | tuple[str, ...] = "after_first"

    def __post_init__(self) -> None:
        if faults := self.faults():
            raise MethodError(self.name, faults)

    def faults(self) -> list[tuple[str, str]]:
        """What is wrong with the values: (field, message) each, all of them; [] when sound."""
        return []

    def entry(self) -> dict[str, Any]:
        """The method as a recipe writes it, every value spelt out."""
        values = {one.name: _plain(getattr(self, one.name)) for one in fields(self)}
        return {"method": self.name, **values}

    def spec(self) -> dict[str, Any]:
        """What enters the fingerprints of the steps it touches.

        ``phases`` is left out: where a method acts is seen from which steps name it.
        """
        kept = {key: value for key, value in self.entry().items() if key != "phases"}
        return {**kept, "VERSION": self.VERSION}

    def spec_of_corpus(self) -> dict[str, Any]:
        """What enters the fingerprint of the step that writes its corpus."""
        return {key: value for key, value in self.spec().items() if key not in OF_MIX}

    def data(self) -> Mapping[str, tuple[Source, ...]]:
        """Outside data it reads, by role in the mix; {} when it needs none but the phases'."""
        return {}

    @property
    def has_own_past(self) -> bool:
        """Whether it brings the past it needs (so that it may act in a first phase)."""
        return bool(self.data())

    @property
    def earlier_phases(self) -> tuple[str, ...]:
        """Phases that must lie before every phase it acts in; a recipe without them is refused."""
        return ()

    @property
    def needs_pairs(self) -> bool:
        """Whether the data of every phase it acts in must come in pairs (``parallel``)."""
        return False

    @property
    def wanted_probes(self) -> tuple[str, ...]:
        """Measurements that ``trainable`` is to be given as ``probes``: ``activation_drift``."""
        return ()

    # -- before a run

    def plan(self, phases: Sequence[PlannedPhase]) -> tuple[PlannedPhase, ...] | None:
        """The phases to run instead of these; None leaves them. Called when the recipe is read."""
        return None

    # -- before a phase, each in a step of its own or while its mix is built

    def rehearse(self, past: Past) -> Corpus | None:
        """The corpus that a model shall write before the phase; None for none.

        Called when the plan is made, and again when the step that writes it runs.

        Args:
            past: The phases before this one.
        """
        return None

    def sources(self, past: Past, rehearsed: Sequence[str], rng: Random) -> tuple[MixSource, ...]:
        """Extra sources of the phase's mix.

        Called when the plan is made, so it knows names and not sizes.

        Args:
            past: The phases before this one.
            rehearsed: Roles of the corpora that this method had written, oldest first; the last
                is this phase's.
            rng: The method's own generator.
        """
        return ()

    # -- inside the training step

    def prepare(self, model: Any, rng: Random) -> Any:
        """The model with a structural change (adapters, blocks, vocabulary); None for none.

        The model given may be wrapped or extended and returned: it is the one thing a hook may
        change, since a second copy would not fit.
        """
        return None

    def trainable(
        self, layers: Layers, history: History, probes: Mapping[str, Any], rng: Random
    ) -> Trainable | None:
        """Which parameters move; None when all do.

        Args:
            layers: The model's parameters by place.
            history: Base and earlier checkpoints, read on demand.
            probes: The ``wanted_probes`` by name. ``activation_drift``: for each block, how far its
                output on fixed texts lies from the base model's, relative to its length.
            rng: The method's own generator.

        Raises:
            RecipeError: If the choice matches nothing, or leaves nothing to train.
        """
        return None

    def penalty(
        self,
        model: Any,
        batch: Batch,
        hidden: "torch.Tensor",
        head: "Callable[[torch.Tensor], torch.Tensor]",
        memory: Sequence[Memory],
    ) -> "torch.Tensor | None":
        """A scalar added to the loss of every micro-batch; None for nothing.

        The loss it is added to is a mean over the trained tokens of the optimizer step; a penalty
        is therefore scaled by the micro-batch's part of the step, and reads as one number a step.

        Args:
            model: The model being trained. A frozen reference is this model called with
                remembered weights: ``torch.func.functional_call(model, memory[-1].tensors, ...)``.
            batch: The micro-batch.
            hidden: float T D, states before the head, with gradient.
            head: States R D to logits R V; give it the rows you need: ``head(hidden[batch.rows])``.
            memory: What ``remember`` returned after each earlier phase, oldest first.
        """
        return None

    def project(
        self,
        gradients: "Mapping[str, torch.Tensor]",
        past_gradients: "Sequence[Mapping[str, torch.Tensor]]",
    ) -> "Mapping[str, torch.Tensor] | None":
        """The gradients to apply, after accumulation and before clipping; None keeps them.

        Args:
            gradients: By parameter name, of the mean loss over the step's trained tokens.
            past_gradients: The same of each memory's examples at the present weights, oldest
                phase first; memories without examples are left out.
        """
        return None

    def after_step(
        self, parameters: "Mapping[str, torch.Tensor]", memory: Sequence[Memory], step: int
    ) -> "Mapping[str, torch.Tensor] | None":
        """Parameters to put back after the optimizer's step; None, or a part of them, will do.

        Args:
            parameters: The trainable parameters by name, after the step.
            memory: What ``remember`` returned after each earlier phase, oldest first.
            step: Optimizer steps done in this phase, from 1.
        """
        return None

    # -- after a phase, each in a step of its own

    def remember(self, model: Any, examples: Sequence[Tokenised], rng: Random) -> Memory | None:
        """What later phases need of this one; None for nothing.

        Args:
            model: The model as the phase left it, in evaluation mode.
            examples: The new data the phase trained on, in a seeded order.
            rng: The method's own generator.
        """
        return None

    def finish(self, history: History) -> "Iterable[tuple[str, torch.Tensor]] | None":
        """The weights that leave the phase, name by name (a generator keeps memory low).

        Tensors that are not named stay as trained; None keeps them all.
        """
        return None


def overrides(method: Method, hook: str) -> bool:
    """Whether ``method`` acts in ``hook``; the pipeline builds steps only for hooks that act.

    >>> overrides(Method(), "penalty")
    False
    """
    return acts_in(type(method), hook)


def acts_in(method: type[Method], hook: str) -> bool:
    """Whether methods of this class act in ``hook``.

    >>> acts_in(Method, "penalty")
    False
    """
    if hook not in HOOKS:
        raise ValueError(f"no hook '{hook}'; the hooks are {', '.join(HOOKS)}")
    return getattr(method, hook) is not getattr(Method, hook)


def share_faults(share: float, share_base: ShareBase) -> list[tuple[str, str]]:
    """What is wrong with a share: of the final mix it lies between 0 and 1, of new data above 0.

    >>> share_faults(5, "final_mix")[0][1]
    'must be above 0 and below 1; got 5 (a percentage is written as a fraction: 5 % is 0.05)'
    """
    if share_base == "final_mix" and not 0 < share < 1:
        advice = " (a percentage is written as a fraction: 5 % is 0.05)" * (share >= 1)
        return [("share", f"must be above 0 and below 1; got {share:g}{advice}")]
    if not 0 < share < float("inf"):
        return [("share", f"must be above 0; got {share:g}")]
    return []


def of_corpora(method: Any, rehearsed: Sequence[str]) -> tuple[MixSource, ...]:
    """The sources of a method with the keys of ``OF_MIX``: its last corpus, or all of them alike.

    Args:
        method: ``corpora`` is ``replace`` (the last) or ``accumulate`` (all).
        rehearsed: As in ``sources``.
    """
    roles = rehearsed if method.corpora == "accumulate" else rehearsed[-1:]
    return tuple(
        MixSource(
            role=role,
            share=method.share / len(roles),
            share_of=method.share_of,
            share_base=method.share_base,
            loss_weight=method.loss_weight,
            allow_fewer=method.allow_fewer,
        )
        for role in roles
    )


def _plain(value: Any) -> Any:
    """A field's value in JSON's words."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def option_names(method: type[Method]) -> tuple[str, ...]:
    """The names a recipe may set for this method."""
    return tuple(one.name for one in fields(method))
