"""From tokens to hidden states to logits, in two steps, by the model's own code.

The trunk runs once; the head runs on the chosen positions alone, a chunk at a time. Caps, scales
and ties of the head are the model's own, whatever its family: a shallow copy of the model runs,
whose trunk hands back the states that it is given.

Shapes: B sequences, L tokens, N chosen positions, D width, V vocabulary.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from retain.model.adapters import plain
from retain.model.attention import tree_attention
from retain.model.layout import Layout
from retain.model.states import Kept, Sink

UNLIKE = (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What a model raises that is built otherwise than it is called; that memory ran out is a
RuntimeError too, to be told apart by ``retain.model.memory``."""
CHUNK_BYTES = 16 * 2**20  # logits of one chunk in fp32: 341 positions at SmolLM2's vocabulary


class _States(BaseModelOutputWithPast):  # type: ignore[misc]  # transformers has no types
    """A trunk's answer; what a family adds to it (router logits, ...) is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class Given(torch.nn.Module):
    """Stands where the trunk was, and hands back the states [N, D] it was given."""

    states: torch.Tensor | None = None

    @property
    def decoder(self) -> "Given":
        """Some models call a decoder inside the one that has its name (OPT's)."""
        return self

    def forward(self, *args: Any, **kwargs: Any) -> _States:
        """The states as an answer, whatever is asked."""
        assert self.states is not None
        return _States(last_hidden_state=self.states[None])


def take_apart(model: Any) -> tuple[Any, Callable[[torch.Tensor], torch.Tensor]]:
    """The trunk of a causal language model, and its head: states [N, D] to logits [N, V].

    Logits have the dtype that the model gives them.

    Raises:
        TypeError: If the model has no trunk of its own.
    """
    model = plain(model)
    name = model.base_model_prefix
    trunk = model._modules.get(name)
    if trunk is None:
        raise TypeError(f"{type(model).__name__} has no trunk apart from its head")
    given = Given()
    apart = copy.copy(model)
    apart._modules = {**model._modules, name: given}
    vars(apart).pop("forward", None)  # a trainer's own (TRL's, Accelerate's) is bound to the model

    def head(states_ND: torch.Tensor) -> torch.Tensor:
        given.states = states_ND
        try:
            logits: torch.Tensor = apart(input_ids=None, use_cache=False).logits
        finally:
            given.states = None
        return logits[0]

    return trunk, head


class Head:
    """A causal language model taken apart into trunk and head, for scoring.

    Raises:
        TypeError: If the model has no trunk of its own.
    """

    def __init__(self, model: Any) -> None:
        self.model = plain(model)
        self.trunk, self._head = take_apart(model)
        self.chunk_length = chunk_length(self.model.config.get_text_config().vocab_size)

    def hidden(self, **inputs: Any) -> torch.Tensor:
        """Hidden states [B, L, D] that the head would read."""
        output = self.trunk(use_cache=False, return_dict=True, **inputs)
        states: torch.Tensor = output.last_hidden_state
        return states

    def row(
        self,
        tokens: Sequence[int],
        layout: Layout,
        kept: Kept | None = None,
        into: Sink | None = None,
    ) -> torch.Tensor:
        """States [T, D] of a row of documents; see ``model.attention.tree_attention``."""
        device = self.model.device
        with tree_attention(self.model, layout, kept, into=into):
            states_1TD = self.hidden(
                input_ids=torch.tensor(tokens, device=device)[None],
                position_ids=torch.tensor(layout.positions(), device=device)[None],
                attention_mask=None,
            )
        return states_1TD[0]

    def logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Logits [N, V] in fp32 of states that ``hidden`` gave."""
        return self._head(hidden_ND).float()


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Inside, the model is in evaluation mode and no gradients are kept; the mode is put back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def chunk_length(vocabulary: int) -> int:
    """Positions whose fp32 logits fill ``CHUNK_BYTES``."""
    return max(1, CHUNK_BYTES // (4 * vocabulary))
