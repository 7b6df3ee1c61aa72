"""How near a written answer comes to a reference, in any script."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from math import fsum

from retain.measure.words import words

Ngram = tuple[str, ...]


def exact_match(written: str, reference: str) -> float:
    r"""1.0 if they are the same but for white space around them and Unicode spelling (NFC).

    0.0 if they are not.

    >>> exact_match(" caf\u00e9", "cafe\u0301 "), exact_match("Paris", "paris")
    (1.0, 0.0)
    """
    return float(_same(written) == _same(reference))


def _same(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def chrf(written: str, reference: str) -> float:
    """Character F-score of one answer, 0 to 100, as sacrebleu has it (6 characters, beta 2).

    ``(1 + 4) P R / (4 P + R)``, with P and R the means of precision and recall over character
    n-grams of 1 to 6, white space left out.

    Source: Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015,
    https://aclanthology.org/W15-3049. Departures: none.

    >>> round(chrf("मेरो घर", "मेरो नाम"), 1)
    29.8
    """
    from sacrebleu.metrics import CHRF

    return float(CHRF().sentence_score(written, [reference]).score)


def bleu(written: str, reference: str) -> float:
    """BLEU-4 of one answer, 0 to 100, as sacrebleu has it for sentences.

    Words are split off punctuation in any script (sacrebleu's tokenizer ``intl``); an answer of
    fewer than four words is scored by the n-grams it has; where none is right, the count is
    smoothed (``exp``).

    Source: Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002,
    https://aclanthology.org/P02-1040. Departure: the mean of sentences, not the BLEU of a corpus,
    so that items can be resampled; the two are not comparable.

    >>> bleu("मेरो नाम राम हो।", "मेरो नाम राम हो।").__round__(6)
    100.0
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize="intl", effective_order=True)
    return float(metric.sentence_score(written, [reference]).score)


def rouge_1(written: str, reference: str) -> float:
    """ROUGE-1 F1, 0 to 1: words in common, each as often as both have it, against both lengths.

    ``2 common / (words written + words of the reference)``.

    Source and departures: as `rouge_l`.

    >>> rouge_1("the cat the cat", "the cat sat here")
    0.5
    """
    ours, theirs = Counter(words(written)), Counter(words(reference))
    common = (ours & theirs).total()
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0


def rouge_l(written: str, reference: str) -> float:
    """ROUGE-L F1, 0 to 1: the longest common subsequence of words against both lengths.

    ``2 LCS / (words written + words of the reference)``.

    Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004,
    https://aclanthology.org/W04-1013. Departures: F1 with equal weights, no stemming, and words
    are found in any script (the common implementation drops everything beyond ASCII).

    >>> round(rouge_l("the cat sat", "the black cat sat down"), 2)
    0.75
    >>> rouge_l("मेरो नाम", "मेरो नाम")
    1.0
    """
    ours, theirs = words(written), words(reference)
    common = _longest_common(ours, theirs)
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def sari(written: str, source: str, references: Sequence[str]) -> float:
    """SARI of one simplification, 0 to 100: what was rightly kept, added and deleted.

    For n = 1…4, on sets of word n-grams I (source), O (written), R (any reference), with w(g) the
    part of the references that hold g::

        add:    precision |O and R not I| / |O not I|      recall  .. / |R not I|
        keep:   precision sum w over I and O / |I and O|   recall  .. / sum w over I
        delete: precision sum (1 - w) over I not O / |I not O|

    The score is the mean over n of (F1 of add + F1 of keep + precision of delete) / 3.

    Args:
        written: The simplification.
        source: What was to be simplified.
        references: How people simplified it, at least one.

    Raises:
        ValueError: If there is no reference.

    Source: Xu et al., "Optimizing Statistical Machine Translation for Text Simplification", 2016,
    https://aclanthology.org/Q16-1029. Departures: 0 / 0 is 1 (nothing was to be done, nothing was),
    so that an answer equal to its only reference has 100; words in any script, without case and
    punctuation; the n-grams that a text repeats count once, where the released code counts each.

    >>> sari("the cat sat", "the feline sat", ["the cat sat"])
    100.0
    """
    if not references:
        raise ValueError("SARI needs at least one reference")
    texts = [words(source), words(written), *map(words, references)]
    return 100 * fsum(_sari_of(*(_ngrams(text, n) for text in texts)) for n in (1, 2, 3, 4)) / 4


def _sari_of(source: set[Ngram], written: set[Ngram], *references: set[Ngram]) -> float:
    """SARI of n-grams of one length, 0 to 1."""
    held = Counter(ngram for reference in references for ngram in reference)
    weight = {ngram: num / len(references) for ngram, num in held.items()}
    added, to_add = written - source, set(held) - source
    kept, left = source & written, source - written
    right_kept = fsum(weight.get(ngram, 0.0) for ngram in kept)
    to_keep = fsum(weight.get(ngram, 0.0) for ngram in source)
    right_left = fsum(1 - weight.get(ngram, 0.0) for ngram in left)
    add = _f1(_part(len(added & to_add), len(added)), _part(len(added & to_add), len(to_add)))
    keep = _f1(_part(right_kept, len(kept)), _part(right_kept, to_keep))
    return (add + keep + _part(right_left, len(left))) / 3


def _part(some: float, all_of_it: float) -> float:
    return some / all_of_it if all_of_it else 1.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _ngrams(found: Sequence[str], length: int) -> set[Ngram]:
    return {tuple(found[start : start + length]) for start in range(len(found) - length + 1)}


def _longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    lengths = [0] * (len(right) + 1)
    for one in left:
        diagonal = 0
        for index, other in enumerate(right, start=1):
            above = lengths[index]
            lengths[index] = diagonal + 1 if one == other else max(above, lengths[index - 1])
            diagonal = above
    return lengths[-1]
