"""Which language a text is in."""

from retain.measure.words import words

MIN_LETTERS = 20
"""Letters below which the guess is not used: on a few words it is often wrong."""


def language_of(text: str) -> str | None:
    """ISO 639-1 code of the most likely language; None for fewer than `MIN_LETTERS` letters.

    Source: Lui and Baldwin, "langid.py: An Off-the-shelf Language Identification Tool", 2012,
    https://aclanthology.org/P12-3005, by py3langid, whose model lies in the package. Letters here
    are everything but white space, digits, punctuation and symbols.

    >>> language_of("नेपाल हिमालयको काखमा अवस्थित एउटा सुन्दर देश हो।"), language_of("OK!")
    ('ne', None)
    """
    if sum(len(word) for word in words(text) if not word.isdecimal()) < MIN_LETTERS:
        return None
    import py3langid

    return str(py3langid.classify(text)[0])
