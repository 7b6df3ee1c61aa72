"""What the hooks of a method are given, and what they give back.

Words of torch appear in annotations only, so that a recipe is read without loading torch.

Shapes: T tokens of a packed row, R rows of it that predict a trained token, D width, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    import torch

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
ShareOf = Literal["examples", "trained_tokens"]
ShareBase = Literal["final_mix", "new_data"]
LossWeight = Literal["by_token", "by_example", "match_share"]
MixSelect = Literal["any", "reservoir", "nearest", "farthest", "parallel"]

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
    columns: dict[str, str] | None = Field(default=None, min_length=1)
    """What the file calls a format's columns, such as `{prompt: question, completion: reply}`."""
    template: dict[str, str | tuple[str, ...]] | None = Field(default=None, min_length=1)
    """New columns made of the row's: `{prompt: "Simplify: {source}", completion: "{target}"}`."""


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


# ---------------------------------------------------------------- phases, mixes, models, batches


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
        draw: Names the seeded order they are drawn in; empty: the role's own, in every phase.
        allow_fewer: Take what there is, with a note, where that is less than asked.
        max_token_weight: The most that ``match_share`` lets one of its trained tokens weigh, in
            times a new one; None sets no bound.
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
    draw: str = ""
    allow_fewer: bool = False
    max_token_weight: float | None = None

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
