"""Computing a block's activations again in the backward pass, instead of keeping them."""

from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from retain.errors import TrainingError


def recompute_activations(model: Any, *, enabled: bool) -> None:
    """Switch it on or off in every decoder block.

    transformers' own switch also makes the embeddings' output ask for a gradient, and so sends the
    backward pass through blocks that are frozen; this one does not.

    Raises:
        TrainingError: If the model's blocks cannot do it.
    """
    blocks = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if enabled and not blocks:
        raise TrainingError(
            f"gradient_checkpointing: {type(model).__name__} cannot do it; set it to false"
        )
    for block in blocks:
        block.gradient_checkpointing = enabled
        block._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
