"""Which heads follow the dependency between two words, beyond what distance explains.

The model reads each sentence behind one start token, so that no word stands where attention goes
for want of anything better (the sink). For each dependency, other pairs of words of the language
that stand as far apart and have as many pieces are its control, brought to its even share.

Shapes: L layers, H heads, T tokens, W words of a sentence, S sentences.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch

from retain.data.example import Example
from retain.errors import TaskError
from retain.evaluate.probes.sentences import NOTE, Sentence, sentences
from retain.evaluate.probes.step import Models
from retain.evaluate.tokens import Encoder
from retain.measure.attention import (
    Floats,
    Words,
    compare_heads,
    even_share,
    matched,
    word_attention,
)
from retain.measure.statistics import generator
from retain.model.adapters import plain
from retain.model.load import Loaded

AT_ONCE = 8
"""Sentences that are read together at most: their weights are held in memory."""
NUM_CONTROLS = 6
"""Pairs that a dependency is compared with; their mean is taken."""
DIGITS = 5
ROUNDING = 1e-6


@dataclass(frozen=True)
class Read:
    """One sentence as a model read it.

    Attributes:
        weight: Attention from word to word, [L, H, W, W]; NaN where a layer cannot look that far.
        sink: Attention of each word to the start token, [L, H, W].
        tokens: The tokens of each word.
    """

    sentence: Sentence
    weight: Floats
    sink: Floats
    tokens: Sequence[tuple[int, ...]]

    def pair(self, earlier: int, later: int) -> Words:
        """The shape of a pair of its words."""
        return Words(self.tokens[earlier], self.tokens[later])

    def between(self, earlier: int, later: int) -> Floats:
        """Attention from the later to the earlier word: [L, H]."""
        found: Floats = self.weight[:, :, later, earlier]
        return found


def measure(models: Models, examples: Sequence[Sequence[Example]]) -> dict[str, Any]:
    """The heads of one checkpoint on dependencies in three languages.

    Args:
        models: The checkpoint is read; eager attention for this probe alone.
        examples: Not read.

    Returns:
        For each language and for ``all``: ``dependency`` and ``control`` (mean attention), ``p`` of
        their difference (corrected over heads), all by layer and head, None where the layer cannot
        look that far; ``num_heads`` whose p is at most 0.05, ``num_sentences``; and the same under
        ``shuffled``, where one of the controls stands for the dependency: its maps should be flat.
        ``sink``: mean attention of later words to the start token ``sink_token``.

    Raises:
        TaskError: If the model gives no attention weights, or its tokenizer no places.
    """
    loaded = models.open_now()
    start = Encoder(loaded.tokenizer).prefix_token_id
    maps: dict[str, dict[str, Any]] = {}
    apart: dict[str, list[Floats]] = {"true": [], "shuffled": []}
    means: dict[str, list[Floats]] = {"dependency": [], "control": []}
    sinks: list[Floats] = []
    for language, listed in sentences().items():
        read = _read(loaded, start, listed)
        sinks += [one.sink[:, :, one.sentence.later] for one in read]
        own_SLH = [one.between(one.sentence.earlier, one.sentence.later) for one in read]
        controls = _controls(read)
        mean_SLH = [_mean(found) for found in controls]
        own_apart = [_less(own, mean) for own, mean in zip(own_SLH, mean_SLH, strict=True)]
        shuffled = [_shuffled(found, place) for place, found in enumerate(controls)]
        maps[language] = _told(language, (own_SLH, mean_SLH), own_apart, shuffled)
        means["dependency"] += own_SLH
        means["control"] += mean_SLH
        apart["true"] += own_apart
        apart["shuffled"] += shuffled
    both = (means["dependency"], means["control"])
    maps["all"] = _told("all", both, apart["true"], apart["shuffled"])
    return {
        "maps": maps,
        "sink": _rounded(np.stack(sinks).mean(axis=0)),
        "sink_token": str(loaded.tokenizer.convert_ids_to_tokens(start)),
        "note": NOTE,
    }


def _told(
    language: str,
    both: tuple[Sequence[Floats], Sequence[Floats]],
    apart: Sequence[Floats],
    shuffled: Sequence[Floats],
) -> dict[str, Any]:
    """What is said of one language."""
    found = compare_heads(np.stack(apart), generator("probe attention", language))
    flat = compare_heads(np.stack(shuffled), generator("probe attention", language, "shuffled"))
    dependency, control = (_mean(one) for one in both)
    return {
        "dependency": _rounded(dependency),
        "control": _rounded(control),
        "p": _rounded(found.p),
        "num_heads": found.num_heads,
        "num_sentences": len(apart),
        "shuffled": {"apart": _rounded(flat.mean), "num_heads": flat.num_heads},
    }


def _controls(read: Sequence[Read]) -> list[list[Floats]]:
    """Of each sentence, attention within the pairs most like its dependency: [L, H] each.

    Each is brought to the dependency's even share. A first word is compared with first words, since
    attention to them is of its own kind.
    """
    pairs = [
        (one, earlier, later)
        for one in read
        for later in range(len(one.tokens))
        for earlier in range(later)
        if (earlier, later) != (one.sentence.earlier, one.sentence.later)
    ]
    used = [0] * len(pairs)
    found = []
    for one in read:
        marked = one.pair(one.sentence.earlier, one.sentence.later)
        is_first = one.sentence.earlier == 0
        own = [index for index, pair in enumerate(pairs) if (pair[1] == 0) == is_first]
        shapes = [pairs[index][0].pair(*pairs[index][1:]) for index in own]
        its = matched(marked, shapes, [used[index] for index in own], NUM_CONTROLS)
        controls = []
        for place in its:
            other, earlier, later = pairs[own[place]]
            used[own[place]] += 1
            scale = even_share(marked) / even_share(shapes[place])
            controls.append(scale * other.between(earlier, later))
        found.append(controls)
    return found


def _shuffled(controls: Sequence[Floats], place: int) -> Floats:
    """One of a sentence's controls, each in turn, less the mean of the others."""
    chosen = place % len(controls)
    return _less(controls[chosen], _mean([*controls[:chosen], *controls[chosen + 1 :]]))


def _less(one: Floats, other: Floats) -> Floats:
    """The difference of two maps, without what is rounding of float32."""
    apart: Floats = one - other
    return np.where(np.abs(apart) < ROUNDING, 0.0, apart)


def _mean(maps: Sequence[Floats]) -> Floats:
    """The mean of maps over those that know a head; NaN where none does."""
    stack = np.stack(maps)
    known = ~np.isnan(stack)
    total: Floats = np.where(known, stack, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), math.nan)


# ---------------------------------------------------------------- reading


@torch.no_grad()
def _read(loaded: Loaded, start: int, listed: Sequence[Sentence]) -> list[Read]:
    """Every sentence as the model reads it, those of as many tokens at once, without the head."""
    tokens = [_tokens(loaded.tokenizer, sentence) for sentence in listed]
    by_length: dict[int, list[int]] = {}
    for index, (ids, _) in enumerate(tokens):
        by_length.setdefault(len(ids), []).append(index)
    found: dict[int, Read] = {}
    for same in by_length.values():
        for first in range(0, len(same), AT_ONCE):
            chosen = same[first : first + AT_ONCE]
            layers = _layers(loaded, [[start, *tokens[index][0]] for index in chosen])
            for row, index in enumerate(chosen):
                weight_LHTT = np.stack([layer[row] for layer in layers])
                found[index] = _of_words(listed[index], weight_LHTT, tokens[index][1])
    return [found[index] for index in range(len(listed))]


def _layers(loaded: Loaded, rows: list[list[int]]) -> list[Floats]:
    """The attention weights of each layer, (rows, H, T, T)."""
    ids = torch.tensor(rows, device=loaded.device)
    takes = signature(plain(loaded.model).forward).parameters
    without_head = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    with _eager(loaded.model):
        output = loaded.model(
            input_ids=ids, use_cache=False, output_attentions=True, **without_head
        )
    given = getattr(output, "attentions", None) or ()
    layers = [one.float().cpu().numpy() for one in given if one is not None]
    if not layers:
        raise TaskError(
            f"probe attention: {type(loaded.model).__name__} gives no attention weights; "
            "leave attention out of evaluate.probes"
        )
    return layers


def _of_words(sentence: Sentence, weight_LHTT: Floats, places: Sequence[tuple[int, ...]]) -> Read:
    """From tokens to words; ``places`` are the tokens of each word, without the start token."""
    words = [tuple(place + 1 for place in found) for found in places]
    weight = word_attention(weight_LHTT, [(0,), *words])
    unseen = (weight == 0).all(axis=1, keepdims=True)  # masked in all heads of the layer
    weight = np.where(unseen, math.nan, weight)
    return Read(sentence, weight[:, :, 1:, 1:], np.nan_to_num(weight[:, :, 1:, 0]), words)


def _tokens(tokenizer: Any, sentence: Sentence) -> tuple[list[int], list[tuple[int, ...]]]:
    """The tokens of a sentence, and which of them each word has; marks at its end left out."""
    if not tokenizer.is_fast:
        raise TaskError(
            f"probe attention: {type(tokenizer).__name__} does not say where its tokens stand in "
            "the text; leave attention out of evaluate.probes"
        )
    encoded = tokenizer(sentence.text, add_special_tokens=False, return_offsets_mapping=True)
    places: list[tuple[int, ...]] = []
    end = 0
    for word in sentence.words:
        begin, end = end, end + len(word)
        inside = range(begin, begin + len(word.rstrip(".,?।")))
        places.append(
            tuple(
                index
                for index, (first, last) in enumerate(encoded["offset_mapping"])
                if max(first, inside.start) < min(max(last, first + 1), inside.stop)
            )
        )
        end += 1  # the space
    return list(encoded["input_ids"]), places


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Inside, attention is computed in the way that gives its weights."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before


def _rounded(map_LH: Floats) -> list[list[float | None]]:
    return [
        [None if math.isnan(value) else round(float(value), DIGITS) for value in row]
        for row in map_LH
    ]
