"""From tokens to hidden states to logits, in two steps, by the model's own code.

The trunk runs once; the head runs on the scored positions alone, a chunk at a time. Caps, scales
and ties of the head are the model's own: its forward runs with the trunk's output put in its place.

Shapes: B sequences, L tokens, N chosen positions, D width, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from retain.model.adapters import plain
from retain.model.attention import tree_attention
from retain.model.layout import Layout
from retain.model.states import Kept, Sink

CHUNK_BYTES = 16 * 2**20  # logits of one chunk in fp32: 341 positions at SmolLM2's vocabulary


class Head:
    """A causal language model taken apart into trunk and head.

    Raises:
        TypeError: If the model has no trunk of its own.
    """

    def __init__(self, model: Any) -> None:
        self.model = plain(model)
        self.trunk = self.model.base_model
        if self.trunk is self.model:
            raise TypeError(f"{type(self.model).__name__} has no trunk apart from its head")
        self.chunk_length = chunk_length(self.model.config.get_text_config().vocab_size)
        self._output: Any = None

    def hidden(self, **inputs: Any) -> torch.Tensor:
        """Hidden states [B, L, D] that the head would read."""
        self._output = self.trunk(use_cache=False, return_dict=True, **inputs)
        states: torch.Tensor = self._output.last_hidden_state
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
        with self._trunk_gives(hidden_ND.unsqueeze(0)):
            placeholder = torch.zeros(1, len(hidden_ND), dtype=torch.long, device=hidden_ND.device)
            logits: torch.Tensor = self.model(input_ids=placeholder).logits[0]
        return logits.float()

    @contextmanager
    def _trunk_gives(self, hidden: torch.Tensor) -> Iterator[None]:
        output = type(self._output)(last_hidden_state=hidden)
        before = vars(self.trunk).get("forward")
        self.trunk.forward = lambda *_, **__: output
        try:
            yield
        finally:
            del self.trunk.forward
            if before is not None:
                self.trunk.forward = before


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
