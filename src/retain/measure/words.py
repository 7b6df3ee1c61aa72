"""Words of a text in any script: what n-grams, ROUGE and term counts are made of."""

import unicodedata

NO_SPACES = (  # scripts that write no spaces between words: each character counts as a word
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0x20000, 0x323AF),  # Han, further extensions
)


PARTING = "\u200b\ufeff"
"""Marks of no width that part words; all others are left out of the word they stand in."""


def words(text: str) -> list[str]:
    """Words without case and punctuation; single characters in scripts without spaces.

    Marks that are not seen (joiners, soft hyphens, marks of direction) neither part a word nor
    make it another one: Nepali गर्यो, written with a joiner, is one word, and equal to it without.

    >>> words("It's किताब, 本だ!"), len(words("गर्\u200dयो"))
    (['it', 's', 'किताब', '本', 'だ'], 1)
    """
    found: list[str] = []
    word = ""
    for character in unicodedata.normalize("NFC", text.casefold()):
        if unicodedata.category(character) == "Cf" and character not in PARTING:
            continue
        alone = any(first <= ord(character) <= last for first, last in NO_SPACES)
        if alone or unicodedata.category(character)[0] in "PSZC":
            found += [word] if word else []
            word = ""
            found += [character] if alone else []
        else:
            word += character
    return [*found, word] if word else found
