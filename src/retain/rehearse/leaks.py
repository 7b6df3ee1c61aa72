"""Whether a written text gives away an evaluated item."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from retain.data.leak import key
from retain.measure.words import words

NUM_WORDS = 8
"""n of the word n-grams: long enough that two texts seldom share one by chance."""
MIN_WORDS = 5
"""An item of fewer words ("What is it?") leaks only when it is the whole of a text."""
CONTAINED = 0.5
"""Part of an item's n-grams that a text may not hold."""


class Leaks:
    """Finds evaluated items inside texts, wherever they stand in them.

    A text leaks an item when it contains at least `CONTAINED` of the item's word 8-grams
    (containment, ``|A and B| / |A|`` for the item's set A; a shorter item is one n-gram of all
    its words), or is the same but for case and white space. Case, punctuation and line breaks do
    not count, in any script.

    Args:
        texts: Question, passage and answers of every evaluated item, or each by itself.

    Source: n-gram overlap as in Brown et al., "Language Models are Few-Shot Learners", 2020,
    appendix C, https://arxiv.org/abs/2005.14165. Departures: 8 words for 13, since items are
    short; half of an item's n-grams for any one of them, since stock phrases recur.

    >>> leaks = Leaks(["Which planet of the solar system has the most moons?"])
    >>> leaks.in_text("Q: which planet of the solar system has the most moons? A: Saturn.")
    'Which planet of the solar system has the most moons?'
    >>> leaks.in_text("The planet with the most moons is Saturn.")
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._whole: dict[bytes, str] = {}
        self._items: list[tuple[str, int]] = []  # the text, how many n-grams it has
        self._holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for text in texts:
            if text.strip() and key(text) not in self._whole:
                self._remember(text)
        self._lengths = sorted({len(ngram) for ngram in self._holders})

    def __len__(self) -> int:
        return len(self._whole)

    def _remember(self, text: str) -> None:
        self._whole[key(text)] = text
        found = words(text)
        if len(found) < MIN_WORDS:
            return
        distinct = _ngrams(found, min(NUM_WORDS, len(found)))
        for ngram in distinct:
            self._holders[ngram].append(len(self._items))
        self._items.append((text, len(distinct)))

    def in_text(self, text: str) -> str | None:
        """The item that a text gives away, the one it holds most of; None if there is none."""
        if whole := self._whole.get(key(text)):
            return whole
        found = words(text)
        shared = Counter(
            item
            for length in self._lengths
            for ngram in _ngrams(found, length)
            for item in self._holders.get(ngram, ())
        )
        contained = {item: num / self._items[item][1] for item, num in shared.items()}
        best = max(contained, key=lambda item: (contained[item], -item), default=None)
        if best is None or contained[best] < CONTAINED:
            return None
        return self._items[best][0]


def _ngrams(found: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(found[start : start + length]) for start in range(len(found) - length + 1)}
