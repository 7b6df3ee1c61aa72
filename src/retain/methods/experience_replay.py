"""Experience replay: keep showing the model a little of what it learnt before.

Source: Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019,
https://arxiv.org/abs/1902.10486. Departures: unless ``select`` is ``reservoir`` every earlier
example may be drawn, instead of those in a small buffer; they are drawn in one seeded order, not
per batch, so that 5 % is the beginning of 10 % and, unless ``draw`` is ``anew``, a later phase
replays what an earlier one replayed before it takes others; earlier phases share alike, whatever
their size (the paper's ring buffer); and the loss of replayed examples is scaled to their share
(``loss_weight``), where the paper weighs by what happens to be drawn. ``parallel`` is the replay of
"two-phase fine-tuning" (arXiv 2410.16006, its ER): real English counterparts of the new data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from retain.methods.base import Method
from retain.methods.given import (
    DeclaredPast,
    LossWeight,
    MixSelect,
    MixSource,
    Past,
    ShareBase,
    ShareOf,
    Source,
)
from retain.methods.shares import share_faults, weight_faults

Select = Literal["balanced", "all", "reservoir", "nearest", "farthest", "parallel"]
NEW = "new"


@dataclass(frozen=True, kw_only=True)
class ExperienceReplay(Method):
    """Mix examples of earlier phases, or of a declared stand-in, into the present one.

    An arm may list it twice, say once for the earlier phases and once for general English.

    Attributes:
        share: How much is replayed: above 0, and below 1 when it is of the final mix.
        share_of: What is counted: examples, or tokens whose loss counts.
        share_base: What it is a share of: the final mix, or the new data (papers' "5 %").
        loss_weight: ``match_share`` scales the loss so that replay weighs exactly ``share``;
            ``by_token`` lets every trained token weigh alike (papers' plain mixing);
            ``by_example`` every example.
        max_token_weight: For ``match_share``, the most that a replayed token may weigh, in times a
            new one; what is bounded weighs less than ``share``. None sets no bound.
        select: Which old examples: ``balanced``, as many of each earlier phase; ``all``, every old
            example equally likely, whatever its phase; ``reservoir``, those in a buffer of
            ``buffer_size``, kept by chance as they went by; ``nearest`` or ``farthest``, in order
            of their likeness to the new data (n-grams of tokens in common); ``parallel``, the other
            side of the new data's own pairs (``parallel`` at the phase's source), no old data.
        draw: ``same``: in one seeded order, so that a later phase replays what an earlier one
            replayed before it takes others; ``anew``: each phase draws from all of them.
        buffer_size: For ``reservoir``, the examples it holds of all earlier phases together.
        allow_fewer: Replay all there is, with a note, where the past is too small for the share;
            else the run stops and says what was reached.
        past: None replays the earlier phases; ``{data: SOURCE}`` replays that instead.
    """

    name = "experience_replay"
    needs_past = True

    share: float = 0.05
    share_of: ShareOf = "examples"
    share_base: ShareBase = "final_mix"
    loss_weight: LossWeight = "match_share"
    max_token_weight: float | None = None
    select: Select = "balanced"
    draw: Literal["same", "anew"] = "same"
    buffer_size: int | None = None
    allow_fewer: bool = False
    past: DeclaredPast | None = None

    def faults(self) -> list[tuple[str, str]]:
        """A share of the final mix lies between 0 and 1; of the new data it is above 0."""
        faults = share_faults(self.share, self.share_base)
        faults += weight_faults(self.loss_weight, self.max_token_weight)
        if self.select == "reservoir" and (self.buffer_size is None or self.buffer_size < 1):
            text = f"select: reservoir needs a size of at least 1; got {self.buffer_size}"
            faults.append(("buffer_size", text))
        elif self.select != "reservoir" and self.buffer_size is not None:
            text = f"is for select: reservoir; here select is {self.select}"
            faults.append(("buffer_size", text))
        if self.draw == "anew" and self.select in ("nearest", "farthest"):
            text = f"anew is by chance, and select: {self.select} takes them in order of likeness"
            faults.append(("draw", text))
        if self.select == "parallel" and self.past is not None:
            text = "select: parallel replays the new data's own pairs; leave past out"
            faults.append(("past", text))
        return faults

    def data(self) -> Mapping[str, tuple[Source, ...]]:
        """The declared stand-in, if there is one."""
        return {self.past.role: self.past.data} if self.past else {}

    @property
    def has_own_past(self) -> bool:
        """A stand-in, or pairs of the new data, need no earlier phase."""
        return self.past is not None or self.needs_pairs

    @property
    def needs_pairs(self) -> bool:
        """The other side of the new data is replayed only by ``parallel``."""
        return self.select == "parallel"

    def sources(self, past: Past, rehearsed: Sequence[str], rng: Random) -> tuple[MixSource, ...]:
        """The declared stand-in, the earlier phases each or as one pool, or the other side."""
        if self.select == "parallel":
            return (self._source("extra:parallel", (NEW,), "parallel", past),)
        roles = tuple(self.data()) or tuple(past.data.values())
        chosen: MixSelect = "any"
        if self.select != "balanced" and self.select != "all":
            chosen = self.select
        if self.select == "balanced" or len(roles) == 1:
            return tuple(self._source(role, (), chosen, past, len(roles)) for role in roles)
        pooled = f"past:{'+'.join(past.phases)}" + f":{chosen}" * (chosen != "any")
        return (self._source(pooled, roles, chosen, past),)

    def _source(
        self, role: str, pool: tuple[str, ...], select: MixSelect, past: Past, parts: int = 1
    ) -> MixSource:
        """One source, with its part of the share."""
        return MixSource(
            role=role,
            share=self.share / parts,
            share_of=self.share_of,
            share_base=self.share_base,
            loss_weight=self.loss_weight,
            pool=pool,
            select=select,
            buffer_size=self.buffer_size,
            draw=f"turn {past.turn}" if self.draw == "anew" and past.turn else "",
            allow_fewer=self.allow_fewer,
            max_token_weight=self.max_token_weight,
        )
