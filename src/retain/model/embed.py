"""Texts as vectors, by a language model's own hidden states.

Shapes: N texts, B texts of a batch, L tokens, D width.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from retain.model.head import Head, evaluating
from retain.model.load import Loaded

Embedder = Callable[[Sequence[str]], NDArray[np.float64]]

MAX_TOKENS = 256
"""Tokens of a text that are read: what it is about is clear by then."""
BATCH_TOKENS = 2048


def mean_states(loaded: Loaded) -> Embedder:
    """An embedder: the mean, over a text's tokens, of the states that the model's head would read.

    Only the first `MAX_TOKENS` tokens are read. Texts are encoded without special tokens.

    Returns:
        A function from N texts to an array of shape (N, D); zeros for a text without tokens. Its
        cosines are high throughout (states of a language model share a few large directions):
        compare them with one another, not with those of another embedder.
    """
    head = Head(loaded.model)
    limit = min(MAX_TOKENS, loaded.context_tokens or MAX_TOKENS)

    def embed(texts: Sequence[str]) -> NDArray[np.float64]:
        tokens = [
            loaded.tokenizer(text, add_special_tokens=False).input_ids[:limit] for text in texts
        ]
        states_ND = np.zeros((len(texts), loaded.model.get_input_embeddings().weight.shape[1]))
        with evaluating(head.model), loaded.autocast():
            for batch in _batches(tokens):
                padded = torch.zeros(len(batch), len(tokens[batch[-1]]), dtype=torch.long)
                for row, place in zip(padded, batch, strict=True):
                    row[: len(tokens[place])] = torch.tensor(tokens[place])
                # causal: what stands behind a text's last token does not reach back into it
                hidden_BLD = head.hidden(input_ids=padded.to(loaded.device)).float().cpu()
                for states_LD, place in zip(hidden_BLD, batch, strict=True):
                    states_ND[place] = states_LD[: len(tokens[place])].mean(dim=0).numpy()
        return states_ND

    return embed


def _batches(tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    """Places of the texts that have tokens, shortest first, in batches that fill the budget."""
    batches: list[list[int]] = []
    for place in sorted(range(len(tokens)), key=lambda place: len(tokens[place])):
        if not tokens[place]:
            continue
        if not batches or (len(batches[-1]) + 1) * len(tokens[place]) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(place)
    return batches
