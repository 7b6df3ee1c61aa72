"""The hooks of an arm's methods, in the order of the arm; those that do nothing cost nothing.

Hooks compose: penalties add up, each projection is given the gradients that the one before it
returned, and parameters are put back one method after another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor

from retain.methods.base import Method, overrides
from retain.methods.given import Batch, Memory
from retain.train.forward import Head
from retain.train.randomness import stream

Gradients = Mapping[str, Tensor]


@dataclass(frozen=True)
class Hooks:
    """The methods that act in one phase, with what each kept of earlier ones.

    Attributes:
        methods: In the order of the arm.
        memories: By name of the method; oldest phase first.
        seed: The run's seed.
        phase: The phase's name: a method draws anew in each.
    """

    methods: tuple[Method, ...] = ()
    memories: Mapping[str, Sequence[Memory]] = field(default_factory=dict)
    seed: int = 0
    phase: str = ""

    def acting(self, hook: str) -> list[Method]:
        """The methods that override ``hook``."""
        return [method for method in self.methods if overrides(method, hook)]

    def memory(self, method: Method) -> Sequence[Memory]:
        """What the method kept of earlier phases."""
        return self.memories.get(method.name, ())

    def rng(self, method: Method, hook: str) -> Random:
        """The method's own generator for one hook."""
        return stream(self.seed, self.phase, method.name, hook)

    def prepare(self, model: Any) -> Any:
        """The model with every method's structural change."""
        for method in self.acting("prepare"):
            changed = method.prepare(model, self.rng(method, "prepare"))
            model = model if changed is None else changed
        return model

    def penalty(self, model: Any, batch: Batch, hidden: Tensor, head: Head) -> Tensor | None:
        """The sum of all penalties on one micro-batch; None when there is none."""
        values = [
            method.penalty(model, batch, hidden, head, self.memory(method))
            for method in self.acting("penalty")
        ]
        given = [value for value in values if value is not None]
        return torch.stack(given).sum() if given else None

    def project(
        self, gradients: Gradients, past_gradients: Callable[[Memory], Gradients]
    ) -> Gradients:
        """The gradients after every projection.

        Args:
            gradients: Of the step's loss, by parameter name.
            past_gradients: Computes those of one memory's examples at the present weights.
        """
        for method in self.acting("project"):
            past = [past_gradients(kept) for kept in self.memory(method) if kept.examples]
            projected = method.project(gradients, past)
            gradients = gradients if projected is None else projected
        return gradients

    @torch.no_grad()
    def after_step(self, parameters: Mapping[str, Tensor], step: int) -> None:
        """Put back what each method wants in the place of the parameters.

        Args:
            parameters: The trainable ones, by name; changed in place.
            step: Optimizer steps done in this phase, from 1.
        """
        for method in self.acting("after_step"):
            back = method.after_step(parameters, self.memory(method), step) or {}
            for name, value in back.items():
                parameters[name].copy_(value)
