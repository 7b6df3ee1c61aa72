"""What a model's lowest blocks make of tokens, taken once and given back instead of computed again.

Where the embeddings and the lowest blocks do not move, the states that leave those blocks depend on
the tokens alone. The *depth* of a boundary is how many blocks lie below it. No family is known
here: a hook takes the states where they leave the last block below, and to give them back those
blocks pass on what they are given, for as long as the context lasts.

Shapes: T tokens of a row, D width.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from retain.model.adapters import is_adapted
from retain.model.layers import Place, blocks_prefix


class _ReachedError(Exception):
    """The states are taken; what lies above need not be computed."""


class _MoreThanStatesError(TypeError):
    """A block answers with more than its states."""


def depth_below(places: dict[str, Place], moving: Collection[str]) -> int:
    """How many of the lowest blocks keep their output while ``moving`` moves.

    0 as soon as an embedding moves (a tied head is one), or something whose place is not known.
    """
    parts = [places[name] for name in moving if name in places]
    if any(place.part in ("embeddings", "other") for place in parts) or len(parts) < len(moving):
        return 0
    num_blocks = 1 + max(place.block for place in places.values())
    return min((place.block for place in parts if place.part == "block"), default=num_blocks)


def why_not(model: Any) -> str:
    """Why states of this model's lowest blocks cannot be kept; "" if they can."""
    if is_adapted(model):
        return "adapters move in its blocks"
    if model.config.is_encoder_decoder:
        return "it has an encoder"
    if not answers_with_states(model):
        return "its blocks answer with more than their states"
    if any(map(_drops, model.modules())):
        return "it has dropout"
    return ""


@torch.no_grad()
def answers_with_states(model: Any) -> bool:
    """Whether a block of a decoder hands on its states alone: tried on two tokens.

    Others (BLOOM, Falcon, GPT-J) answer with a tuple, of which later blocks may read more.
    """
    tokens = torch.zeros((1, 2), dtype=torch.int64, device=model.device)
    try:
        Boundary(model, 1).take(partial(model, input_ids=tokens, use_cache=False))
    except _MoreThanStatesError:
        return False
    return True


def _drops(module: torch.nn.Module) -> bool:
    if isinstance(module, torch.nn.Dropout):
        return module.p > 0
    rate = getattr(module, "attention_dropout", 0.0)
    return isinstance(rate, float) and rate > 0


class Boundary:
    """The place in a decoder where its lowest ``depth`` blocks end.

    Args:
        model: A causal decoder of transformers without adapters.
        depth: At least 1, at most all of its blocks.
    """

    def __init__(self, model: Any, depth: int) -> None:
        self._below = list(model.get_submodule(blocks_prefix(model)))[:depth]

    def take(self, call: Callable[[], Any]) -> Tensor:
        """The states [1, T, D] that pass the boundary in ``call``, which goes no further."""
        taken: list[Tensor] = []

        def hook(module: Any, args: Any, output: Any) -> None:
            taken.append(_states(output))
            raise _ReachedError

        handle = self._below[-1].register_forward_hook(hook)
        try:
            call()
        except _ReachedError:
            return taken[0]
        finally:
            handle.remove()
        raise RuntimeError("the call did not pass the boundary")

    @contextmanager
    def given(self, states_TD: Tensor) -> Iterator[None]:
        """Inside, the model computes what lies above the boundary, from these states."""
        with ExitStack() as stack:
            for block in self._below:
                last = block is self._below[-1]
                stack.enter_context(_forward(block, partial(_pass, states_TD if last else None)))
            yield


@contextmanager
def _forward(module: torch.nn.Module, instead: Callable[..., Any]) -> Iterator[None]:
    """Inside, the module's forward is another function."""
    before = vars(module).get("forward")
    module.forward = instead
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


def _pass(states_TD: Tensor | None, *args: Any, **kwargs: Any) -> Tensor:
    """What stands for a block: its input goes on, or the states in place of it."""
    given: Tensor = args[0] if args else kwargs["hidden_states"]
    return given if states_TD is None else states_TD.to(given.dtype).view_as(given)


def _states(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise _MoreThanStatesError("a block answers with more than its states")
    return output
