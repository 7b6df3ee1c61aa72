"""How near a written answer comes to a reference, in any script."""

import unicodedata
from collections.abc import Sequence

NO_SPACES = (  # scripts that write no spaces between words: each character counts as a word
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0x20000, 0x323AF),  # Han, further extensions
)


def exact_match(written: str, reference: str) -> float:
    """1.0 if they are the same but for white space around them and Unicode spelling (NFC)."""
    return float(_same(written) == _same(reference))


def _same(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def chrf(written: str, reference: str) -> float:
    """Character F-score of one answer, 0 to 100, as sacrebleu has it (6 characters, beta 2)."""
    from sacrebleu.metrics import CHRF

    return float(CHRF().sentence_score(written, [reference]).score)


def rouge_l(written: str, reference: str) -> float:
    """ROUGE-L F1, 0 to 1: the longest common subsequence of words against both lengths.

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


def words(text: str) -> list[str]:
    """Words without case and punctuation; single characters in scripts without spaces.

    >>> words("It's किताब, 本だ!")
    ['it', 's', 'किताब', '本', 'だ']
    """
    found: list[str] = []
    word = ""
    for character in unicodedata.normalize("NFC", text.casefold()):
        alone = any(first <= ord(character) <= last for first, last in NO_SPACES)
        if alone or unicodedata.category(character)[0] in "PSZC":
            found += [word] if word else []
            word = ""
            found += [character] if alone else []
        else:
            word += character
    return [*found, word] if word else found


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
