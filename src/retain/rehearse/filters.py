"""What a model wrote that is not worth training on, and why.

Every filter looks at one text; duplicates are looked up among those kept before. A text is removed
by the first filter that applies, in the order of `REASONS`, so that counts add up.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

from retain.errors import RecipeError
from retain.measure.language import language_of
from retain.measure.repetition import text_repetition
from retain.measure.words import words
from retain.rehearse.leaks import Leaks
from retain.rehearse.near import Seen, jaccard, shingles
from retain.rehearse.turns import REFUSALS, is_refusal, is_request

Reason = Literal[
    "repeats the question",
    "empty",
    "cut off",
    "not a question or request",
    "refusal",
    "looping",
    "wrong language",
    "leak",
    "duplicate",
    "near duplicate",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
NUM_SHOWN = 3
"""Removed texts of each filter that a sieve keeps to show."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which texts are removed; the defaults suit an assistant's dialogues in any language.

    Attributes:
        cut_off: Remove what ended at the limit of its tokens.
        max_repetition: Remove what repeats itself more than this, 0 to 1 (see
            `retain.measure.repetition.text_repetition`). None keeps loops.
        languages: ISO 639-1 codes that are kept; texts too short to tell are kept. () keeps all.
        refusals: Beginnings that mark a refusal, matched without case within the first 200
            characters. The defaults are English; () keeps refusals.
        duplicates: Remove what was kept before, but for case and white space.
        near_duplicates: Remove what is at least so similar to a text kept before, 0.5 to 1: Jaccard
            similarity of character 5-grams. None keeps them.
        requests: Of user turns, remove what is no question or request.
        max_echo: Of answers, remove what is at least so similar to the turn it answers, 0 to 1: the
            same similarity. None keeps them.

    Raises:
        RecipeError: If a number is out of its range.
    """

    cut_off: bool = True
    max_repetition: float | None = 0.2
    languages: tuple[str, ...] = ()
    refusals: tuple[str, ...] = REFUSALS
    duplicates: bool = True
    near_duplicates: float | None = 0.8
    requests: bool = True
    max_echo: float | None = 0.8

    def __post_init__(self) -> None:
        if self.max_repetition is not None and not 0 <= self.max_repetition <= 1:
            raise RecipeError(f"max_repetition must lie in 0..1, got {self.max_repetition}")
        if self.near_duplicates is not None and not 0.5 <= self.near_duplicates <= 1:
            raise RecipeError(f"near_duplicates must lie in 0.5..1, got {self.near_duplicates}")
        if self.max_echo is not None and not 0 < self.max_echo <= 1:
            raise RecipeError(f"max_echo must lie in 0..1 and not be 0, got {self.max_echo}")


def why_not(
    text: str,
    settings: Filters,
    seen: Seen,
    *,
    finished: bool = True,
    is_prompt: bool = False,
    leaks: Leaks | None = None,
) -> Reason | None:
    """The filter that removes a text; None if it is kept. Nothing is remembered: see `Sieve`.

    Whether an answer repeats its question is looked at there, too.

    Args:
        text: What the model wrote.
        settings: The filters.
        seen: The texts kept before.
        finished: Whether the model ended it itself.
        is_prompt: Whether it is a user turn.
        leaks: The evaluated items.

    >>> why_not("Sure! Here are three tips.", Filters(), Seen(), is_prompt=True)
    'not a question or request'
    >>> why_not("na " * 30, Filters(), Seen())
    'looping'
    """
    if not words(text):
        return "empty"
    if settings.cut_off and not finished:
        return "cut off"
    return (
        _wrong_kind(text, settings, is_prompt=is_prompt)
        or _wrong_form(text, settings)
        or _known(text, settings, seen, leaks)
    )


def _wrong_kind(text: str, settings: Filters, *, is_prompt: bool) -> Reason | None:
    if is_prompt and settings.requests and not is_request(text):
        return "not a question or request"
    return "refusal" if is_refusal(text, settings.refusals) else None


def _wrong_form(text: str, settings: Filters) -> Reason | None:
    if settings.max_repetition is not None and text_repetition(text) > settings.max_repetition:
        return "looping"
    if settings.languages and language_of(text) not in (None, *settings.languages):
        return "wrong language"
    return None


def _known(text: str, settings: Filters, seen: Seen, leaks: Leaks | None) -> Reason | None:
    if leaks is not None and leaks.in_text(text) is not None:
        return "leak"
    if settings.duplicates and seen.has(text):
        return "duplicate"
    near = settings.near_duplicates
    if near is not None and not seen.has(text) and seen.nearest(text, at_least=near) is not None:
        return "near duplicate"
    return None


@dataclass
class Sieve:
    """Filters applied to one text after another, and what each removed.

    The outcome depends on the texts and their order alone: whoever continues an interrupted corpus
    gives the finished texts again (or calls ``seen.add`` for those kept) and goes on.

    Attributes:
        settings: The filters.
        leaks: The evaluated items; None where nothing is evaluated.
        seen: The texts kept so far.
        num_kept: How many were kept.
        removed: How many each filter removed; the filters that removed none are not in it.
        examples: The first texts that each filter removed, to be looked at.

    >>> sieve = Sieve(Filters())
    >>> [sieve.removes(text) for text in ("A cat sat.", "", "a cat  sat.")]
    [None, 'empty', 'duplicate']
    >>> sieve.num_kept, dict(sieve.removed)
    (1, {'empty': 1, 'duplicate': 1})
    >>> sieve.removes("What are coins made of?", answers="What are coins made of?")
    'repeats the question'
    """

    settings: Filters
    leaks: Leaks | None = None
    seen: Seen = field(default_factory=Seen)
    num_kept: int = 0
    removed: Counter[Reason] = field(default_factory=Counter)
    examples: dict[Reason, list[str]] = field(default_factory=dict)

    def removes(
        self,
        text: str,
        *,
        finished: bool = True,
        is_prompt: bool = False,
        answers: str | None = None,
    ) -> Reason | None:
        """As `why_not`; a text that is kept is remembered, one that is removed is counted.

        Args:
            text: What the model wrote.
            finished: Whether the model ended it itself.
            is_prompt: Whether it is a user turn.
            answers: The user turn that it answers, if it does.
        """
        reason = self._echo(text, answers) or why_not(
            text,
            self.settings,
            self.seen,
            finished=finished,
            is_prompt=is_prompt,
            leaks=self.leaks,
        )
        if reason is None:
            self.num_kept += 1
            self.seen.add(text)
            return None
        self.removed[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < NUM_SHOWN:
            shown.append(text)
        return reason

    def _echo(self, text: str, answers: str | None) -> Reason | None:
        most = self.settings.max_echo
        if most is None or answers is None:
            return None
        is_echo = jaccard(shingles(text), shingles(answers)) >= most
        return "repeats the question" if is_echo else None
