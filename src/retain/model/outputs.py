"""What leaves each block of a decoder on some texts, read by hooks.

Shapes: T tokens of all texts end to end, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from retain.model.adapters import plain
from retain.model.layers import blocks_prefix
from retain.model.load import Loaded

PROBE_TEXTS = (
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


@torch.no_grad()
def block_outputs(loaded: Loaded, texts: Sequence[str]) -> list[Tensor]:
    """The hidden state that leaves each block, over all texts one after the other.

    Args:
        loaded: A decoder; called outside its autocast, in the precision of its weights.
        texts: Each read alone.

    Returns:
        For each block from the first to the last, [T, D] at float32 on the CPU.
    """
    by_text = []
    with _recorded(loaded.model) as recorded:
        for text in texts:
            tokens = torch.tensor([loaded.tokenizer(text).input_ids], device=loaded.device)
            recorded.clear()
            loaded.model(input_ids=tokens, use_cache=False)
            by_text.append([recorded[index] for index in sorted(recorded)])
    return [torch.cat(same) for same in zip(*by_text, strict=True)]


@contextmanager
def _recorded(model: Any) -> Iterator[dict[int, Tensor]]:
    """Inside, what each block gives in a forward pass of one text, by its number."""
    decoder = plain(model)
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
