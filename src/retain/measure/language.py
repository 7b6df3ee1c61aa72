"""Which language a text is in."""

from collections.abc import Iterable
from difflib import get_close_matches

from retain.measure.words import words

MIN_LETTERS = 20
"""Letters below which the guess is not used: on a few words it is often wrong."""
_CODES = """
ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext
fa fi fo fr fuv fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja
jv ka kab kik kk km kn ko ku ky la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no
nso oc om or pa pcm pl ps pt qu ro ru rw sa sdh se si sk sl sn so sq sr st sv sw ta te tg th tk
tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo yue zh zu zxx
"""
LANGUAGES = frozenset(_CODES.split())
"""What `language_of` may answer: ISO 639-1 codes, and 639-3 where there is none; Norwegian is no or
nn, and zxx no language."""


def unknown_languages(codes: Iterable[str]) -> str:
    """What is wrong with codes to compare with those of `language_of`; "" when they are known.

    Without this a name or a code of another standard would match no text.

    >>> unknown_languages(["en", "english"])
    "'english' is no code that texts are told by; write two letters, as en, hi, ne"
    >>> unknown_languages(["EN"])
    "'EN' is no code that texts are told by; did you mean 'en'?"
    >>> unknown_languages(["en", "yue"])
    ''
    """
    for code in codes:
        if code not in LANGUAGES:
            close = get_close_matches(code.lower().partition("-")[0], LANGUAGES, n=1, cutoff=0.9)
            advice = f"did you mean '{close[0]}'?" if close else "write two letters, as en, hi, ne"
            return f"'{code}' is no code that texts are told by; {advice}"
    return ""


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
