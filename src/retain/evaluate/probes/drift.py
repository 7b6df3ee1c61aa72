"""How far a checkpoint is from the base model, layer by layer and in what it predicts.

Shapes: T tokens of all texts, D width, P scored places, V vocabulary.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from retain.data.example import Example
from retain.data.render import continuation_tokens, continuations, prompt_tokens
from retain.errors import TaskError
from retain.evaluate.probes.step import Models
from retain.measure.drift import covariance_drift, divergence, linear_cka, mean_cosine
from retain.measure.statistics import (
    MIN_CLUSTERS,
    UNKNOWN,
    generator,
    percentile_interval,
    resampled_scores,
)
from retain.model.adapters import plain
from retain.model.layers import blocks_prefix
from retain.model.length import model_length
from retain.model.load import Loaded
from retain.model.outputs import PROBE_TEXTS, block_outputs
from retain.model.tensors import FolderTensors

MAX_EXAMPLES, MAX_TOKENS = 32, 128
"""Held-out examples that are read, and tokens of one."""
KEPT_NUMBERS = 32_000_000
"""Log-probabilities of the base model held in memory at most: 128 MB."""

Places = tuple[tuple[int, ...], tuple[int, ...]]
"""Tokens of an example, and at which of them the next one is predicted and scored."""


def measure(models: Models, examples: Sequence[Sequence[Example]]) -> dict[str, Any]:
    """Every figure of drift between the base model and the checkpoint.

    Args:
        models: Both; the base model is opened and left before the checkpoint is opened.
        examples: What was held out of each phase just taught.

    Returns:
        ``layers``: lists with a figure for each block: ``cka``, ``cosine`` and ``covariance`` of
        what leaves it on `PROBE_TEXTS` (see `directions` and ``measure.drift``), and ``weights``,
        how far its weights moved as a part of their length (None where that cannot be told).
        ``divergence``:
        KL(base || checkpoint) where the new task's answers are predicted, mean nats per token, with
        ``low``, ``high`` (95 % over examples), ``num_examples`` and ``num_tokens``.

    Raises:
        TaskError: If the blocks of the two differ, or the phase held nothing out for figures.
    """
    loaded = models.open_base()
    before = directions(loaded)
    places = scored_places(loaded, examples)
    likely = [_log_probabilities(loaded, place) for place in places]

    loaded = models.open_now()
    after = directions(loaded)
    if [one.shape for one in before] != [one.shape for one in after]:
        raise TaskError(
            f"probe drift: the base model has {len(before)} blocks of other shapes than the "
            f"{len(after)} of the checkpoint"
        )
    both = list(zip(before, after, strict=True))
    apart = [
        divergence(p_PV, _log_probabilities(loaded, place))
        for p_PV, place in zip(likely, places, strict=True)
    ]
    return {
        "layers": {
            "cka": [_json(linear_cka(*one)) for one in both],
            "cosine": [_json(mean_cosine(*one)) for one in both],
            "covariance": [_json(covariance_drift(*one)) for one in both],
            "weights": weight_changes(loaded, FolderTensors(models.base)),
        },
        "num_texts": len(PROBE_TEXTS),
        "num_text_tokens": len(before[0]),
        "divergence": _mean(apart),
    }


def directions(loaded: Loaded) -> list[NDArray[np.float32]]:
    """What leaves each block on `PROBE_TEXTS`, every token at unit length: [T, D].

    The first token of each text is left out, and lengths are, because a few tokens would decide
    every figure else: in SmolLM2-135M the first token is 160 times as long as others from block 11
    on, which made linear CKA 0.994 there whatever else had moved. The next block reads directions
    alone: its norm divides the length away.

    Source: such activations: Sun et al., "Massive Activations in Large Language Models", 2024,
    https://arxiv.org/abs/2402.17762.
    """
    by_text = [[one[1:] for one in block_outputs(loaded, [text])] for text in PROBE_TEXTS]
    states = [torch.cat(same) for same in zip(*by_text, strict=True)]
    return [torch.nn.functional.normalize(one, dim=-1).numpy() for one in states]


def scored_places(loaded: Loaded, examples: Sequence[Sequence[Example]]) -> list[Places]:
    """The tokens of some held-out examples, and the places where they are predicted.

    Of an example with an answer those of the (right) answer, rendered as in training; of running
    text all. Where that is more than fits in memory, as many of each example, evenly spread. The
    phases of a joint one take turns.

    Raises:
        TaskError: If there is none.
    """
    longest = min(MAX_TOKENS, model_length(loaded.model, loaded.tokenizer))
    in_turn = [one for same in zip_longest(*examples) for one in same if one is not None]
    cut = [
        found
        for example in in_turn[:MAX_EXAMPLES]
        if (found := _cut(example, loaded.tokenizer, longest)) is not None
    ]
    if not cut:
        raise TaskError(
            "probe drift: the phase has no held-out example of the role report; hold out more"
        )
    room = max(1, KEPT_NUMBERS // loaded.vocab_size // len(cut))
    return [(tokens, _spread(range(start - 1, len(tokens) - 1), room)) for tokens, start in cut]


def _cut(example: Example, tokenizer: Any, longest: int) -> tuple[tuple[int, ...], int] | None:
    """The tokens of an example that are read, and the first that is predicted."""
    if example.text is not None:
        tokens = tuple(tokenizer(example.text).input_ids[:longest])
        return (tokens, 1) if len(tokens) > 1 else None
    answers = continuations(example, tokenizer)
    if not answers:
        return None
    answer = continuation_tokens(answers[example.answer or 0], tokenizer)[: longest // 2]
    asked = prompt_tokens(example, tokenizer)[-(longest - len(answer)) :]
    return ((*asked, *answer), max(1, len(asked))) if len(asked) + len(answer) > 1 else None


def _spread(places: range, most: int) -> tuple[int, ...]:
    """At most so many of some places, as far apart as they can be."""
    if len(places) <= most:
        return tuple(places)
    return tuple(places[index * len(places) // most] for index in range(most))


@torch.no_grad()
def _log_probabilities(loaded: Loaded, place: Places) -> NDArray[np.float32]:
    """What the model gives every token of the vocabulary at the scored places: [P, V]."""
    tokens, scored = place
    ids = torch.tensor([tokens[:-1]], device=loaded.device)
    logits = loaded.model(input_ids=ids, use_cache=False).logits[0, list(scored)]
    found: NDArray[np.float32] = logits.float().log_softmax(-1).cpu().numpy()
    return found


def _mean(apart: Sequence[NDArray[np.floating]]) -> dict[str, float | int | None]:
    """Nats per token over all examples, with the interval over examples (None for a few)."""
    nats = np.array([[float(one.sum()) for one in apart]])
    tokens = np.array([[float(len(one)) for one in apart]])
    sure = UNKNOWN
    if len(apart) >= MIN_CLUSTERS:
        draws = resampled_scores(nats, generator("probe drift"), weights_RI=tokens)[0]
        sure = percentile_interval(draws)
    return {
        "nats_per_token": float(nats.sum() / tokens.sum()),
        "low": _json(sure.low),
        "high": _json(sure.high),
        "num_examples": len(apart),
        "num_tokens": int(tokens.sum()),
    }


# ---------------------------------------------------------------- weights


def weight_changes(loaded: Loaded, base: Mapping[str, torch.Tensor]) -> list[float | None]:
    """How far all weights of each block moved, as a part of their length: ``|W' - W| / |W|``.

    What an adapter adds counts as if it were merged.

    Args:
        loaded: The checkpoint.
        base: The base model's weights by name.

    Returns:
        At least 0 for each block; None where the base model's file has no such names.
    """
    decoder = plain(loaded.model)
    prefix = blocks_prefix(decoder)
    num_blocks = len(decoder.get_submodule(prefix))
    length, moved = [0.0] * num_blocks, [0.0] * num_blocks
    for name in base:
        if (block := _block(name, prefix)) is not None:
            length[block] += float(base[name].float().square().sum())
    for name, change in _changes(decoder, base, loaded.model is not decoder):
        if (block := _block(name, prefix)) is not None:
            moved[block] += float(change.float().square().sum())
    return [math.sqrt(m / n) if n else None for m, n in zip(moved, length, strict=True)]


def _changes(
    decoder: Any, base: Mapping[str, torch.Tensor], has_adapter: bool
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter's name in the base model, and what it differs by."""
    if not has_adapter:
        for name, parameter in decoder.named_parameters():
            if name in base:
                yield name, parameter.detach().cpu().float() - base[name].float()
        return
    for module_name, module in decoder.named_modules():
        if hasattr(module, "base_layer") and hasattr(module, "merge"):
            yield f"{module_name}.weight", _added(module)


def _added(module: Any) -> torch.Tensor:
    """What the adapters on one layer add to its weight, on the CPU."""
    names = list(module.active_adapters)
    if hasattr(module, "get_delta_weight") and not any(module.use_dora.get(n) for n in names):
        added: torch.Tensor = sum(module.get_delta_weight(name).detach().cpu() for name in names)
        return added
    merged = deepcopy(module)  # DoRA and (IA)3 change the weight itself
    before = merged.get_base_layer().weight.detach().clone()
    merged.merge()
    moved: torch.Tensor = (merged.get_base_layer().weight.detach() - before).cpu()
    return moved


def _block(name: str, prefix: str) -> int | None:
    """The number of the block that a parameter stands in; None outside."""
    if not name.startswith(f"{prefix}."):
        return None
    return int(name.removeprefix(f"{prefix}.").partition(".")[0])


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value
