"""Measurements that a choice of what moves may ask for, made before the phase.

Shapes: T tokens of a text, D width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retain.errors import TrainingError
from retain.model import cache
from retain.model.layers import blocks_prefix
from retain.model.load import Loaded, load

TEXTS = (
    "The train was late, so we walked along the river and talked about the summer.",
    "Water boils at a lower temperature on a mountain because the air pressure is lower there.",
    "Please write a short letter to your neighbour and thank her for looking after the cat.",
    "In 1969 two people walked on the Moon while a third stayed in orbit around it.",
    "If every shop in the street is closed on Sunday, can you buy bread there on Sunday?",
    "She opened the box, found it empty, and closed it again without saying a word.",
    "To make the soup, cut the onions, fry them gently, and add the beans and the water.",
    "The court decided that the contract was not valid, since one side had never signed it.",
    "A farmer has twelve sheep and buys five more; how many sheep does the farmer have now?",
    "Good morning. How can I help you today?",
    "The heart pumps blood through the body, and the lungs give it oxygen.",
    "def area(width, height): return width * height",
    "Prices rose again last month, although fewer people were looking for work.",
    "Once upon a time there was a king who could not sleep unless it rained.",
    "The opposite of hot is cold, and the opposite of early is late.",
    "Two teams played for an hour, and neither of them scored a single goal.",
)
"""What the model reads: general English, written for this."""


def activation_drift(before: Path, after: Path, *, device: str = "auto") -> list[float]:
    """How far each block's output has moved on the probe texts, from the first block to the last.

    The mean over all tokens of ``|after - before| / |before|``, Euclidean norms of the hidden state
    that leaves the block, at float32. What a block passes on moves the blocks above it too, so this
    mostly grows towards the output.

    Args:
        before: Folder of the base model.
        after: Folder of the checkpoint.
        device: ``auto``, or a device of torch.

    Raises:
        TrainingError: If the two have unlike blocks.
    """
    old = _outputs(load(str(before), precision="fp32", device=device))
    new = _outputs(cache.get(after, precision="fp32", device=device))
    if [one.shape for one in old] != [one.shape for one in new]:
        raise TrainingError(
            f"the base model has {len(old)} blocks of other shapes than the {len(new)} of the "
            "checkpoint, so their outputs cannot be compared"
        )
    return [
        float(((n - o).norm(dim=-1) / o.norm(dim=-1)).mean()) for o, n in zip(old, new, strict=True)
    ]


PROBES: Mapping[str, Callable[..., list[float]]] = {"activation_drift": activation_drift}


def measure(names: Sequence[str], before: Path, after: Path, *, device: str) -> dict[str, Any]:
    """The probes of these names, between two model folders.

    Raises:
        TrainingError: If there is no probe of a name.
    """
    for name in names:
        if name not in PROBES:
            raise TrainingError(f"no probe '{name}'; known: {', '.join(PROBES)}")
    return {name: PROBES[name](before, after, device=device) for name in names}


@torch.no_grad()
def _outputs(loaded: Loaded) -> list[Tensor]:
    """What leaves each block over all texts one after the other, on the CPU: [T, D] each."""
    by_text = []
    with _recorded(loaded.model) as recorded:
        for text in TEXTS:
            tokens = torch.tensor([loaded.tokenizer(text).input_ids], device=loaded.device)
            recorded.clear()
            loaded.model(input_ids=tokens, use_cache=False)
            by_text.append([recorded[index] for index in sorted(recorded)])
    return [torch.cat(same) for same in zip(*by_text, strict=True)]


@contextmanager
def _recorded(model: Any) -> Iterator[dict[int, Tensor]]:
    """Inside, what each block gives in a forward pass of one text, by its number."""
    decoder = model.get_base_model() if hasattr(model, "get_base_model") else model
    blocks = decoder.get_submodule(blocks_prefix(decoder))
    recorded: dict[int, Tensor] = {}

    def keep(index: int) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            recorded[index] = hidden.reshape(-1, hidden.shape[-1]).float().cpu()

        return hook

    handles = [block.register_forward_hook(keep(i)) for i, block in enumerate(blocks)]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
