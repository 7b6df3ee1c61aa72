"""What a method is: a few hooks, each returning a value, none changing what it is given.

A method is one file: a frozen dataclass whose fields are its hyper-parameters. It overrides the
hooks where it acts and leaves the rest alone; an arm is a list of methods, and the pipeline and
the training loop call each hook of each method of the arm that is active in the phase. Nothing is
kept between phases except what a hook returned and its step saved.

Words of torch appear in annotations only, so that a recipe is read without loading torch.

Shapes: T tokens of a packed row, R rows of it that predict a trained token, D width, V vocabulary.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel

from retain.errors import RecipeError
from retain.methods.given import (
    Batch,
    History,
    Layers,
    Memory,
    MixSource,
    Past,
    PlannedPhase,
    Source,
    Tokenised,
    Trainable,
)
from retain.methods.shares import OF_MIX
from retain.rehearse.corpus import Corpus

if TYPE_CHECKING:
    import torch


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

        Called when the plan is made. What it says follows from the method's own fields: the step
        that writes it is known by them, by who writes and by the data it asks about.

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


def _plain(value: Any) -> Any:
    """A field's value in JSON's words."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def option_names(method: type[Method]) -> tuple[str, ...]:
    """The names a recipe may set for this method."""
    return tuple(one.name for one in fields(method))
