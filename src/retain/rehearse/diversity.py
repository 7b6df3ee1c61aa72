"""How varied a corpus is: its words, its texts against each other, its topics by depth.

All of it is of the whole corpus but self-BLEU, which is of a sample. Compare corpora of about as
many words: distinct-n falls as a corpus grows, whatever is in it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from retain.measure.ngrams import embed_ngrams, unit
from retain.measure.similarity import Embedder
from retain.measure.statistics import generator
from retain.measure.words import words

NUM_SAMPLED = 100
"""Texts that self-BLEU is taken of, each against all the others: a second's work."""
NUM_TERMS = 8
COMMON = 0.05
"""Part of the texts that a word of no topic is in, such as "would"."""
MIN_LETTERS = 5
"""Shorter words are mostly of no topic, in alphabets and in Indic scripts alike."""


def report(
    texts: Sequence[str],
    depths: Sequence[int],
    *,
    embedder: Embedder = embed_ngrams,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything below, ready for a record.

    Args:
        texts: The corpus.
        depths: How deep in its tree each text stands; all alike for a flat corpus.
        embedder: What `mean_similarity` compares; hashed character n-grams when nothing is given.
        seed: Of the sample.

    Returns:
        ``num_texts``, ``num_words``, ``distinct_1`` to ``distinct_3``, ``self_bleu``,
        ``num_sampled`` (of self-BLEU), ``mean_similarity``, ``num_by_depth`` and ``topics``
        (depth to terms). A number that nothing can be said of is None.

    Raises:
        ValueError: If there are not as many depths as texts.

    >>> found = report(["a hungry fox", "a singing blackbird"], [1, 2])
    >>> found["distinct_1"], found["num_by_depth"], found["topics"][2]
    (0.8333333333333334, {1: 1, 2: 1}, ['blackbird', 'singing'])
    """
    texts_words = [words(text) for text in texts]
    sampled = _sample(len(texts), seed)
    numbers = {
        **{f"distinct_{n}": distinct(texts_words, n) for n in (1, 2, 3)},
        "self_bleu": self_bleu([texts[place] for place in sampled]),
        "mean_similarity": mean_similarity(texts, embedder),
    }
    topics = topics_by_depth(texts_words, depths)
    return {
        "num_texts": len(texts),
        "num_words": sum(map(len, texts_words)),
        **{name: None if math.isnan(value) else value for name, value in numbers.items()},
        "num_sampled": len(sampled),
        "num_by_depth": dict(sorted(Counter(depths).items())),
        "topics": topics,
    }


def distinct(texts_words: Sequence[Sequence[str]], length: int) -> float:
    """Distinct-n: ``distinct n-grams / all n-grams`` of a corpus; n-grams never span two texts.

    Returns:
        A fraction, above 0 to 1; higher is more varied. NaN where no text has n words.

    Source: Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models",
    2016, https://arxiv.org/abs/1510.03055 (there: over the number of words).

    >>> distinct([["a", "b", "a"], ["a", "b"]], 2)
    0.6666666666666666
    """
    ngrams = [
        tuple(found[start : start + length])
        for found in texts_words
        for start in range(len(found) - length + 1)
    ]
    return len(set(ngrams)) / len(ngrams) if ngrams else math.nan


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU-4 of each text with all the others as its references.

    Returns:
        A fraction, 0 to 1; lower is more varied, 1 where every text stands there twice. NaN for
        fewer than two texts.

    Source: Zhu et al., "Texygen: A Benchmarking Platform for Text Generation Models", 2018,
    https://arxiv.org/abs/1802.01886. Departures: over `retain.measure.words.words`, so that it
    works in any script; n-grams longer than the text itself are left out (effective order), as a
    question of three words has no 4-gram; sacrebleu's exponential smoothing.

    >>> self_bleu(["a red fox ran home", "a red fox ran home"]), self_bleu(["a", "b"])
    (1.0, 0.0)
    """
    from sacrebleu.metrics import BLEU

    if len(texts) < 2:
        return math.nan
    bleu = BLEU(effective_order=True, tokenize="none")
    spaced = [" ".join(words(text)) for text in texts]
    scores = [
        bleu.sentence_score(one, [*spaced[:place], *spaced[place + 1 :]]).score / 100
        for place, one in enumerate(spaced)
    ]
    return min(1.0, round(math.fsum(scores) / len(scores), 12))


def mean_similarity(texts: Sequence[str], embedder: Embedder = embed_ngrams) -> float:
    """Mean cosine over all pairs of texts.

    With unit vectors u: ``(|sum of u|^2 - N) / (N (N - 1))``, which needs no pair.

    Args:
        texts: The corpus; texts that the embedder gives zeros for are left out.
        embedder: From texts to vectors.

    Returns:
        -1 to 1; lower is more varied. NaN for fewer than two texts.

    >>> round(mean_similarity(["a red fox", "a red fox"]), 6)
    1.0
    """
    vectors_ND = unit(np.asarray(embedder(texts), dtype=np.float64)) if texts else np.zeros((0, 1))
    num = int(vectors_ND.any(axis=1).sum())
    if num < 2:
        return math.nan
    total_D = vectors_ND.sum(axis=0)
    return float((total_D @ total_D - num) / (num * (num - 1)))


def topics_by_depth(
    texts_words: Sequence[Sequence[str]], depths: Sequence[int], num_terms: int = NUM_TERMS
) -> dict[int, list[str]]:
    """The words that stand out at each depth.

    By ``number of the depth's texts with the word * log((1 + all texts) / all texts with it)``:
    what many texts there say and few texts everywhere. Numbers are no topics, nor are words of
    under `MIN_LETTERS`, nor what over a twentieth of all texts say (of few texts: more than two).
    Ties are in the order of the alphabet.

    Returns:
        Depth to at most ``num_terms`` words, best first, in the order of the depths.

    Raises:
        ValueError: If there are not as many depths as texts.

    Source: tf-idf with a depth as the document (Spärck Jones, "A statistical interpretation of term
    specificity and its application in retrieval", 1972).

    >>> topics_by_depth([["foxes", "bark"], ["foxes", "hunt"], ["birds"]], [1, 1, 2])
    {1: ['foxes'], 2: ['birds']}
    """
    found_in = Counter(word for found in texts_words for word in set(found))
    most = max(2, COMMON * len(texts_words))
    by_depth: dict[int, Counter[str]] = {depth: Counter() for depth in sorted(set(depths))}
    for found, depth in zip(texts_words, depths, strict=True):
        by_depth[depth].update(
            word
            for word in set(found)
            if len(word) >= MIN_LETTERS and not word.isnumeric() and found_in[word] <= most
        )

    def weight(word: str, num: int) -> float:
        return num * math.log((1 + len(texts_words)) / found_in[word])

    return {
        depth: sorted(counts, key=lambda word: (-weight(word, counts[word]), word))[:num_terms]
        for depth, counts in by_depth.items()
    }


def _sample(num_texts: int, seed: int) -> list[int]:
    """Places of the sampled texts, in order."""
    rng = generator("diversity", seed)
    if num_texts <= NUM_SAMPLED:
        return list(range(num_texts))
    return sorted(rng.choice(num_texts, size=NUM_SAMPLED, replace=False).tolist())
