"""Experience replay: keep showing the model a little of what it learnt before.

Source: Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019,
https://arxiv.org/abs/1902.10486. Departures: every earlier example stays available instead of a
small buffer; the sample is drawn once per phase, not once per batch; earlier phases share alike,
whatever their size (the paper's ring buffer, not its reservoir); and the loss of replayed examples
is scaled to their share (``loss_weight``), where the paper weighs by what happens to be drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from retain.methods.base import (
    DeclaredPast,
    LossWeight,
    Method,
    MixSource,
    Past,
    ShareBase,
    ShareOf,
    Source,
)


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
        past: None replays the earlier phases; ``{data: SOURCE}`` replays that instead.
    """

    name = "experience_replay"
    needs_past = True

    share: float = 0.05
    share_of: ShareOf = "examples"
    share_base: ShareBase = "final_mix"
    loss_weight: LossWeight = "match_share"
    past: DeclaredPast | None = None

    def faults(self) -> list[tuple[str, str]]:
        """A share of the final mix lies between 0 and 1; of the new data it is above 0."""
        if self.share_base == "final_mix" and not 0 < self.share < 1:
            advice = " (a percentage is written as a fraction: 5 % is 0.05)" * (self.share >= 1)
            return [("share", f"must be above 0 and below 1; got {self.share:g}{advice}")]
        if not 0 < self.share < float("inf"):
            return [("share", f"must be above 0; got {self.share:g}")]
        return []

    def data(self) -> Mapping[str, tuple[Source, ...]]:
        """The declared stand-in, if there is one."""
        return {self.past.role: self.past.data} if self.past else {}

    def sources(self, past: Past, rehearsed: Sequence[str], rng: Random) -> tuple[MixSource, ...]:
        """The declared stand-in, or each earlier phase with an equal part of the share."""
        roles = tuple(self.data()) or tuple(past.data.values())
        return tuple(
            MixSource(
                role=role,
                share=self.share / len(roles),
                share_of=self.share_of,
                share_base=self.share_base,
                loss_weight=self.loss_weight,
            )
            for role in roles
        )
