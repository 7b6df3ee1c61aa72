"""Instruction mixing: a fixed number of general instructions in every phase.

Source: Luo et al., "An Empirical Study of Catastrophic Forgetting in Large Language Models During
Continual Fine-tuning", 2023, https://arxiv.org/abs/2308.08747, which mixes 10,000 general
instructions (Alpaca) into the tuning of LLaMA-7B. Whether that is in each phase or in all is not
reported: ``per`` says it here. Departure: each phase gets other examples, as long as there are
some.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from retain.errors import RecipeError
from retain.methods.base import Method
from retain.methods.given import DeclaredPast, MixSource, Past, Source


@dataclass(frozen=True, kw_only=True)
class InstructionMixing(Method):
    """Mix examples of a general set into each phase, so many of them.

    Attributes:
        general: ``{data: SOURCE}``, the general set.
        num_examples: How many are mixed in.
        per: In each ``phase`` in which it acts, or in ``total``, dealt evenly over those phases.
        loss_weight: ``by_token`` lets every trained token weigh alike (the paper's plain mixing);
            ``by_example`` every example.
        allow_fewer: Take all there is, with a note, where the set is smaller than that; else the
            run stops.
    """

    name = "instruction_mixing"

    general: DeclaredPast
    num_examples: int = 100
    per: Literal["phase", "total"] = "phase"
    loss_weight: Literal["by_token", "by_example"] = "by_token"
    allow_fewer: bool = False

    def faults(self) -> list[tuple[str, str]]:
        """At least one example is mixed in."""
        if self.num_examples < 1:
            return [("num_examples", f"must be at least 1; got {self.num_examples}")]
        return []

    def data(self) -> Mapping[str, tuple[Source, ...]]:
        """The general set."""
        return {self.general.role: self.general.data}

    def sources(self, past: Past, rehearsed: Sequence[str], rng: Random) -> tuple[MixSource, ...]:
        """This phase's examples: those that follow the ones of the phases before.

        Raises:
            RecipeError: If there are fewer examples in total than phases.
        """
        before, end = self._before(past.turn, past), self._before(past.turn + 1, past)
        if before == end:
            raise RecipeError(
                f"instruction_mixing: {self.num_examples} examples in total are none for some of "
                f"the {past.num_turns} phases it acts in; give at least {past.num_turns}"
            )
        return (
            MixSource(
                role=self.general.role,
                num_examples=end - before,
                skip=before,
                loss_weight=self.loss_weight,
                allow_fewer=self.allow_fewer,
            ),
        )

    def _before(self, turn: int, past: Past) -> int:
        """Examples that the first ``turn`` phases get."""
        if self.per == "phase":
            return turn * self.num_examples
        return turn * self.num_examples // past.num_turns
