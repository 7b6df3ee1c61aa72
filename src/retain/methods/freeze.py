"""Freeze: let only a part of the model move.

Source: the layer-freezing study of "two-phase fine-tuning" (arXiv 2410.16006), which freezes random
layers (its LF_H1), those that changed most in the phase before (LF_H2), and those with the least
signal to noise (Spectrum, arXiv 2406.06623). How many layers it freezes, and whether a change is
taken relative to the weights, is not reported; here it is relative, and the number is yours.
Departures: embeddings are frozen with the first layers unless asked otherwise, and a tied head with
them, since it is the same tensor. Of Spectrum: matrices of the blocks are ranked, a bias goes with
its matrix and the blocks' norms stay frozen, where the published program ranks each vector too and
gives all of a kind the same rank; the model is the one the phase starts from.

Limits: what does not move is not forgotten, but what depends on moving layers still can be.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from retain.errors import RecipeError
from retain.measure.weights import relative_change, signal_to_noise
from retain.methods.base import Method
from retain.methods.given import Block, History, Layers, Trainable

if TYPE_CHECKING:
    import torch

Select = Literal["first", "last", "random", "most_changed", "signal_to_noise", "probe"]
Module = Literal["attention", "mlp", "norm"]
DRIFT = "activation_drift"
OF_THE_PAST = ("most_changed", "probe")
SCORED_BY = {
    "most_changed": "relative weight change, summed over the layer",
    "probe": "relative drift of the layer's output on the probe texts",
    "signal_to_noise": "signal to noise of each matrix; of each kind the lowest are frozen",
}
ROUNDING = 1e-9
BROKEN = "the weights are broken; look at the loss of the phase before"


@dataclass(frozen=True, kw_only=True)
class Freeze(Method):
    """Keep some layers, or parameters by name, as they are.

    Attributes:
        select: Which layers are frozen: the ``first`` (the input's) or ``last``; ``random`` ones,
            drawn by the run's seed anew in each phase; ``most_changed``, those whose weights moved
            most in earlier phases; ``probe``, those whose output drifted most since the base model
            on fixed texts; ``signal_to_noise``: no layers, but of every kind of matrix those with
            the lowest ratio (Spectrum), and the layers' norms.
        num_layers: How many layers are frozen.
        fraction: The same as a fraction of all layers, rounded to a whole layer; for
            ``signal_to_noise`` a fraction of the matrices of each kind, rounded up.
        modules: Which parts of those layers are meant: ``attention``, ``mlp``, ``norm``; none: all.
            Without a number of layers, those parts of all layers.
        names: Further parameters: each a name, or a regular expression that a whole name must
            match.
        train_only: Turns it round: the layers, modules and names given are what moves, and all else
            is frozen.
        embeddings: Whether embeddings are frozen too; None: yes with the first layers and with
            ``train_only``, else no. A tied head is frozen with them.
        head: Whether the output head is frozen too; None: with ``train_only``, else no.
        changed_in: For ``most_changed``, the earlier phase whose change counts; None: all earlier
            phases together, since the base model.
    """

    name = "freeze"
    VERSION = 2  # 2: matrices of an encoder and of a decoder are ranked apart
    needs_past = True
    chooses_trainable = True

    select: Select = "first"
    num_layers: int | None = None
    fraction: float | None = None
    modules: tuple[Module, ...] = ()
    names: tuple[str, ...] = ()
    train_only: bool = False
    embeddings: bool | None = None
    head: bool | None = None
    changed_in: str | None = None

    def faults(self) -> list[tuple[str, str]]:
        """Something is chosen, once, and patterns are patterns."""
        faults = self._count_faults()
        if self.select == "signal_to_noise":
            if self.num_layers is not None:
                text = "signal_to_noise ranks matrices, not layers; give fraction instead"
                faults.append(("num_layers", text))
            if self.train_only:
                text = "signal_to_noise trains the rest of `fraction` already; leave train_only out"
                faults.append(("train_only", text))
        if self.changed_in is not None and self.select != "most_changed":
            text = f"is for select: most_changed; here select is {self.select}"
            faults.append(("changed_in", text))
        for pattern in self.names:
            try:
                re.compile(pattern)
            except re.error as error:
                faults.append(("names", f"'{pattern}' is not a regular expression: {error}"))
        return faults

    def _count_faults(self) -> list[tuple[str, str]]:
        faults = []
        if self.num_layers is not None and self.fraction is not None:
            faults.append(("fraction", "num_layers is given too; give one of them"))
        if self.num_layers is not None and self.num_layers < 1:
            faults.append(("num_layers", f"must be at least 1; got {self.num_layers}"))
        if self.fraction is not None and not 0 < self.fraction <= 1:
            faults.append(("fraction", f"must be above 0 and at most 1; got {self.fraction:g}"))
        if self._counts_layers:
            return faults
        switched = (self.embeddings or self.head) and not self.train_only
        if self.select != "first":
            text = f"select: {self.select} needs a number of layers; give num_layers or fraction"
            if self.select == "signal_to_noise":
                text = "signal_to_noise needs a fraction of the matrices to freeze, such as 0.75"
            faults.append(("fraction", text))
        elif not (switched or self.modules or self.names):
            what = "train" if self.train_only else "freeze"
            text = f"nothing to {what}; give num_layers, fraction, modules or names"
            faults.append(("num_layers", text))
        return faults

    @property
    def has_own_past(self) -> bool:
        """Only what changed or drifted needs earlier phases."""
        return self.select not in OF_THE_PAST

    @property
    def earlier_phases(self) -> tuple[str, ...]:
        """The phase whose change counts, where one is named."""
        return () if self.changed_in is None else (self.changed_in,)

    @property
    def wanted_probes(self) -> tuple[str, ...]:
        """The drift of each layer's output, where it decides."""
        return (DRIFT,) if self.select == "probe" else ()

    def trainable(
        self, layers: Layers, history: History, probes: Mapping[str, Any], rng: Random
    ) -> Trainable:
        """All parameters but the frozen ones; the numbers say how many move, where, and why.

        Raises:
            RecipeError: If there are fewer layers than asked, a pattern matches nothing, nothing
                is left to train, a tied head is to be frozen without its embeddings, there is no
                earlier phase, or weights to be ranked are quantised, broken or not there, or
                nothing tells layers apart.
        """
        if self.select == "signal_to_noise":
            scores = self._matrix_scores(layers, history)
            named = _lowest(scores, layers, self.fraction or 0.0)
            shown: dict[str, Any] = {"matrix_scores": scores}
        else:
            scored = self._layer_scores(layers, history, probes)
            blocks = self._blocks(layers, scored, rng)
            named = {name for index in blocks for name in self._parts(layers.blocks[index])}
            shown = {"chosen_layers": blocks, "layer_scores": scored}
        for pattern in self.names:
            named |= _matching(pattern, layers.names)
        frozen = self._frozen(layers, named)
        moving = tuple(name for name in layers.names if name not in frozen)
        if not moving:
            raise RecipeError(
                f"freeze: all {len(layers.names)} parameters would be frozen, nothing is left to "
                "train; freeze fewer layers, or set embeddings or head to false"
            )
        told = {"select": self.select, "scored_by": SCORED_BY.get(self.select), **shown}
        told = {key: value for key, value in told.items() if value is not None}
        return Trainable(names=moving, numbers={**_numbers(layers, moving), **told})

    # ------------------------------------------------------------ what is chosen

    @property
    def _counts_layers(self) -> bool:
        return self.num_layers is not None or self.fraction is not None

    def _parts(self, block: Block) -> tuple[str, ...]:
        """The parameters of a layer that are meant."""
        if not self.modules:
            return block.names
        return tuple(name for kind in self.modules for name in getattr(block, kind))

    def _blocks(self, layers: Layers, scores: Sequence[float] | None, rng: Random) -> list[int]:
        """The indices of the chosen layers, in order."""
        total = len(layers.blocks)
        if not self._counts_layers:
            return list(range(total)) if self.modules else []
        count = self._count(total)
        if self.select == "random":
            return sorted(rng.sample(range(total), count))
        if scores is not None:
            ranked = sorted(range(total), key=lambda index: (-scores[index], index))
            return sorted(ranked[:count])
        return list(range(total))[:count] if self.select == "first" else list(range(total))[-count:]

    def _count(self, total: int) -> int:
        count = self.num_layers or 0
        if self.fraction is not None:
            count = round(self.fraction * total)
            if count == 0:
                raise RecipeError(
                    f"freeze: fraction {self.fraction:g} of {total} layers is no whole layer; "
                    f"give at least {1 / total:.3f}, or num_layers"
                )
        if count > total:
            raise RecipeError(f"freeze: num_layers is {count}, but the model has {total} layers")
        return count

    def _layer_scores(
        self, layers: Layers, history: History, probes: Mapping[str, Any]
    ) -> list[float] | None:
        """What each layer is ranked by, highest first; None where nothing is measured."""
        if self.select == "probe":
            return self._told_apart([float(value) for value in probes[DRIFT]], "drifted")
        if self.select != "most_changed":
            return None
        before, after = self._before_and_after(history)
        changes = [
            sum(
                relative_change(_tensor(after, name), _tensor(before, name)) for name in block.names
            )
            for block in layers.blocks
        ]
        return self._told_apart(changes, "changed")

    def _told_apart(self, scores: list[float], verb: str) -> list[float]:
        """The scores, if layers can be ranked by them."""
        for layer, score in enumerate(scores):
            if not isfinite(score):
                raise RecipeError(
                    f"freeze: select: {self.select} cannot rank layer {layer}, whose score is "
                    f"{score:g}: {BROKEN}"
                )
        if not any(scores):
            raise RecipeError(
                f"freeze: select: {self.select} ranks layers by how far they {verb}, and none of "
                f"the {len(scores)} did; select by place, or look back at another phase"
            )
        return scores

    def _before_and_after(
        self, history: History
    ) -> "tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]]":
        """The weights between which the change is taken."""
        phases = list(history.checkpoints)
        if not phases:
            raise RecipeError(
                "freeze: select: most_changed freezes what moved in an earlier phase, and this is "
                "the first; let it act later (phases: [NAME])"
            )
        weights = [history.base, *history.checkpoints.values()]
        if self.changed_in is None:
            return weights[0], weights[-1]
        if self.changed_in not in phases:
            raise RecipeError(
                f"freeze: changed_in: no earlier phase '{self.changed_in}'; "
                f"earlier phases: {', '.join(phases)}"
            )
        place = phases.index(self.changed_in)
        return weights[place], weights[place + 1]

    def _matrix_scores(self, layers: Layers, history: History) -> dict[str, float]:
        """Signal to noise of every matrix of the blocks, in the weights the phase starts from."""
        from retain.model.precision import device

        on = device()
        weights = [history.base, *history.checkpoints.values()][-1]
        scores = {}
        for block in layers.blocks:
            for name in self._parts(block):
                weight = _tensor(weights, name)
                if weight.ndim >= 2:
                    on_device = weight.to(on) if on.type == "cuda" else weight
                    scores[name] = signal_to_noise(on_device)
        return scores

    def _frozen(self, layers: Layers, named: set[str]) -> set[str]:
        """What does not move, the switches of embeddings and head applied."""
        frozen = set(layers.names) - named if self.train_only else set(named)
        for part, asked, is_frozen in (
            (layers.embeddings, self._embeddings_asked(layers), self._embeddings_by_default),
            (layers.head, self.head, False),
        ):
            if asked or (asked is None and is_frozen):
                frozen |= set(part)
            elif asked is False and self.train_only:
                frozen -= set(part)
        if self.head and not layers.tied and not layers.head:
            raise RecipeError("freeze: head is true, but the model has no output head by name")
        return frozen

    @property
    def _embeddings_by_default(self) -> bool:
        return self._counts_layers and self.select == "first" and not self.train_only

    def _embeddings_asked(self, layers: Layers) -> bool | None:
        """What is asked of the embeddings; a tied head's switch is theirs too."""
        if not layers.tied or self.head is None or (self.head is False and not self.train_only):
            return self.embeddings
        if self.embeddings is (not self.head):
            word = "true" if self.head else "false"
            other = "false" if self.head else "true"
            raise RecipeError(
                f"freeze: head is {word} and embeddings is {other}, but this model ties them (one "
                "tensor); set both alike"
            )
        return self.head


def _tensor(weights: "Mapping[str, torch.Tensor]", name: str) -> "torch.Tensor":
    """A parameter's numbers, as they were trained.

    Raises:
        RecipeError: If it is not there, or holds codes instead of numbers.
    """
    if name not in weights:
        raise RecipeError(
            f"freeze: the saved weights have no '{name}', so layers cannot be compared by them; an "
            "adapter's folder has none, merge it (train.handover: merge_then_new), or select by "
            "place"
        )
    weight = weights[name]
    if not weight.is_floating_point() or weight.element_size() < 2:
        raise RecipeError(
            f"freeze: '{name}' is quantised ({str(weight.dtype).removeprefix('torch.')}): its "
            "codes say nothing of signal or change; give the model in 16 or 32 bits, or select by "
            "place"
        )
    if not bool(weight.isfinite().all()):
        raise RecipeError(f"freeze: '{name}' holds a number that is none: {BROKEN}")
    return weight


def _lowest(scores: Mapping[str, float], layers: Layers, fraction: float) -> set[str]:
    """Of every kind of matrix those with the lowest scores, their biases, and all norms."""
    by_kind: dict[str, list[str]] = {}
    frozen: set[str] = set()
    for block in layers.blocks:
        frozen.update(name for name in block.norm if name not in scores)
        for name in block.names:
            if name in scores:
                by_kind.setdefault(_kind(name), []).append(name)
    if not by_kind:
        raise RecipeError("freeze: signal_to_noise ranks matrices, and `modules` leaves none")
    num_moving = 0
    for names in by_kind.values():
        ranked = sorted(names, key=lambda name: -scores[name])
        kept = int((1 - fraction) * len(names) + ROUNDING)
        num_moving += kept
        frozen.update(ranked[kept:])
    if not num_moving:
        most = max(len(names) for names in by_kind.values())
        raise RecipeError(
            f"freeze: fraction {fraction:g} leaves no matrix of any kind to train; with {most} "
            f"layers give at most {1 - 1 / most:.3f}"
        )
    biases = {name.removesuffix("weight") + "bias" for name in frozen if name.endswith("weight")}
    return frozen | (biases & set(layers.names))


def _kind(name: str) -> str:
    """What a matrix is called in every layer of its stack.

    The first number of a name is the layer's in its own stack, which is not the index of the block
    where there are an encoder and a decoder.

    >>> _kind("model.layers.3.mlp.up_proj.weight")
    'model.layers.*.mlp.up_proj.weight'
    >>> _kind("decoder.block.2.layer.0.SelfAttention.q.weight")
    'decoder.block.*.layer.0.SelfAttention.q.weight'
    """
    return re.sub(r"\.\d+\.", ".*.", name, count=1)


def _matching(pattern: str, names: tuple[str, ...]) -> set[str]:
    """The parameters that a name or pattern means; at least one."""
    found = {name for name in names if name == pattern or re.fullmatch(pattern, name)}
    if not found:
        shown = ", ".join(names[:3])
        raise RecipeError(
            f"freeze: names: '{pattern}' matches none of the {len(names)} parameters; a pattern "
            f"must match a whole name, such as {shown} (a leading or trailing .* helps)"
        )
    return found


def _numbers(layers: Layers, moving: tuple[str, ...]) -> dict[str, Any]:
    """What moves and what does not, for the plan and the report."""
    kept = set(moving)
    total = sum(layers.sizes[name] for name in layers.names)
    moved = sum(layers.sizes[name] for name in moving)
    embeddings_frozen = bool(layers.embeddings) and not kept & set(layers.embeddings)
    return {
        "num_parameters": total,
        "num_trainable": moved,
        "trainable_fraction": moved / total,
        "frozen_layers": [b.index for b in layers.blocks if not kept & set(b.names)],
        "num_layers": len(layers.blocks),
        "embeddings_frozen": embeddings_frozen,
        "head_frozen": embeddings_frozen if layers.tied else not kept & set(layers.head),
        "tied_head_frozen_with_embeddings": layers.tied and embeddings_frozen,
    }
