"""A hundred instructions whose following a program can verify, written for this project.

Twenty-five constraints (length, format, words, language), each asked about four things. A reply is
right when it keeps the constraint; whether what it says is true is not judged.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from retain.measure.language import language_of
from retain.measure.words import words

NAME = "verifiable_instructions"

Check = Callable[[str], bool]

_SENTENCE = re.compile(r"[^.!?।]+[.!?।]+(?=\s|$|[\"”])")
_BULLET = re.compile(r"^\s*[-*•]\s+\S", re.MULTILINE)
_NUMBERED = re.compile(r"^\s*(\d+)[.)]\s+\S", re.MULTILINE)
_DEVANAGARI = re.compile(r"[\u0900-\u097f]")
_LATIN = re.compile(r"[A-Za-z]")


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        prompt: What the model is asked.
        constraint: What it must keep, in a few words; instructions of one are one source item.
        language: ISO 639-1 code of the language that the reply must be in.
        check: Whether a reply keeps the constraint.
    """

    prompt: str
    constraint: str
    language: str
    check: Check


def follows(instruction: Instruction, reply: str) -> bool:
    """Whether a reply keeps the constraint; an empty one keeps none."""
    text = reply.strip()
    return bool(text) and instruction.check(text)


def is_in_language(text: str, language: str) -> bool:
    """Whether a text is in a language; of a text too short to tell, whether its script fits."""
    found = language_of(text)
    if found is not None:
        return found == language
    script, other = _LATIN, _DEVANAGARI
    if language in ("hi", "ne"):
        script, other = other, script
    return bool(script.search(text)) and not other.search(text)


def instructions() -> list[Instruction]:
    """All of them, in a fixed order."""
    return [
        Instruction(prompt.format(topic), name, language, check)
        for name, language, prompt, check, topics in CONSTRAINTS
        for topic in topics
    ]


def document(instruction: Instruction) -> dict[str, str]:
    """An instruction as what identifies it."""
    return {
        "prompt": instruction.prompt,
        "constraint": instruction.constraint,
        "language": instruction.language,
    }


def identity() -> str:
    """The sha256 of all instructions."""
    text = json.dumps([document(one) for one in instructions()], ensure_ascii=False)
    return sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------- what is checked


def _at_most(count: int) -> Check:
    return lambda text: len(words(text)) <= count


def _between(low: int, high: int) -> Check:
    return lambda text: low <= len(words(text)) <= high


def _sentences(count: int) -> Check:
    return lambda text: len(_SENTENCE.findall(text)) == count and text[-1] in '.!?।"”'


def _bullets(count: int) -> Check:
    return lambda text: len(_BULLET.findall(text)) == count


def _numbered(count: int) -> Check:
    wanted = [str(number) for number in range(1, count + 1)]
    return lambda text: _NUMBERED.findall(text) == wanted


def _paragraphs(count: int) -> Check:
    return lambda text: len([part for part in re.split(r"\n\s*\n", text) if part.strip()]) == count


def _lines(count: int) -> Check:
    return lambda text: len([line for line in text.splitlines() if line.strip()]) == count


def _has(*wanted: str) -> Check:
    def check(text: str) -> bool:
        found = set(words(text.casefold()))
        return all(word in found for word in wanted)

    return check


def _has_none(*unwanted: str) -> Check:
    return lambda text: not set(unwanted) & set(words(text.casefold()))


def _times(word: str, count: int) -> Check:
    return lambda text: words(text.casefold()).count(word) == count


def _starts(beginning: str) -> Check:
    return lambda text: text.startswith(beginning)


def _ends(ending: str) -> Check:
    return lambda text: text.endswith(ending)


def _both(one: Check, other: Check) -> Check:
    return lambda text: one(text) and other(text)


def _is_one_of(*allowed: str) -> Check:
    return lambda text: text.casefold().rstrip(".!") in allowed


def _json_keys(*keys: str) -> Check:
    def check(text: str) -> bool:
        inside = re.sub(r"^```(?:json)?\s*|\s*```$", "", text)
        try:
            found = json.loads(inside)
        except ValueError:
            return False
        return isinstance(found, dict) and set(found) == set(keys)

    return check


def _only_in(language: str) -> Check:
    return lambda text: is_in_language(text, language)


def _items(count: int) -> Check:
    return lambda text: len([one for one in text.split(",") if one.strip()]) == count


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


def _has_title(text: str) -> bool:
    return re.match(r"<<[^<>\n]+>>\s*\n", text) is not None


def _is_quoted(text: str) -> bool:
    return len(text) > 2 and text[0] == text[-1] == '"'


THINGS = ("rain", "bread", "the moon", "bicycles")
PLACES = ("a market", "a school", "a river", "a train station")
ANIMALS = ("dogs", "elephants", "bees", "owls")

CONSTRAINTS: Sequence[tuple[str, str, str, Check, Sequence[str]]] = (
    ("at most 10 words", "en", "Describe {} in at most 10 words.", _between(3, 10), THINGS),
    ("at most 25 words", "en", "Describe {}. Use no more than 25 words.", _between(5, 25), PLACES),
    ("40 to 80 words", "en", "Write 40 to 80 words about {}.", _between(40, 80), ANIMALS),
    ("one sentence", "en", "Say something about {} in exactly one sentence.", _sentences(1),
     THINGS),
    ("two sentences", "en", "Write exactly two sentences about {}.", _sentences(2), PLACES),
    ("three sentences", "en", "Write exactly three sentences about {}.", _sentences(3), ANIMALS),
    ("one word", "en", "Which color goes with {}? Answer with one word only.", _at_most(1), THINGS),
    ("three bullet points", "en",
     "List three facts about {} as bullet points that start with \"- \".", _bullets(3), ANIMALS),
    ("five bullet points", "en",
     "List five things one finds at {}, as bullet points that start with \"- \".", _bullets(5),
     PLACES),
    ("numbered list of four", "en", "Give a numbered list from 1 to 4 with facts about {}.",
     _numbered(4), ANIMALS),
    ("two paragraphs", "en", "Write two short paragraphs about {}, an empty line between them.",
     _paragraphs(2), THINGS),
    ("four lines", "en", "Write a poem of exactly four lines about {}.", _lines(4), THINGS),
    ("given words", "en", "Write a sentence about {} that has the words \"quiet\" and \"morning\".",
     _has("quiet", "morning"), PLACES),
    ("forbidden words", "en",
     "Describe {} in two or three sentences without the words \"the\" and \"and\".",
     _both(_has_none("the", "and"), _between(6, 200)), ANIMALS),
    ("a word three times", "en", "Write about {} and use the word \"old\" exactly three times.",
     _times("old", 3), PLACES),
    ("given beginning", "en", "Tell me about {}. Begin your reply with \"To be honest,\".",
     _starts("To be honest,"), THINGS),
    ("given end", "en", "Tell me about {}. End your reply with the words \"That is all.\"",
     _ends("That is all."), ANIMALS),
    ("lower case", "en", "Write one sentence about {} without any capital letter.",
     _both(lambda text: text == text.lower(), _between(3, 60)), THINGS),
    ("capital letters", "en", "Write one sentence about {} in capital letters only.",
     _both(lambda text: text == text.upper(), _between(3, 60)), PLACES),
    ("no comma", "en", "Write three sentences about {} without a single comma.",
     _both(lambda text: "," not in text, _between(8, 200)), ANIMALS),
    ("yes or no", "en", "{} Answer only with \"yes\" or \"no\".", _is_one_of("yes", "no"),
     ("Is ice cold?", "Can fish fly?", "Is a week longer than a day?", "Do stones eat?")),
    ("JSON", "en",
     "Give a JSON object about {} with exactly the keys \"name\" and \"use\", and nothing else.",
     _json_keys("name", "use"), ("a spoon", "a lamp", "a key", "a boat")),
    ("Hindi", "hi", "{} दो वाक्यों में हिंदी में उत्तर दीजिए।", _only_in("hi"),
     ("बारिश क्या है?", "विद्यालय में क्या होता है?", "नदी क्यों बहती है?", "हाथी कैसा होता है?")),
    ("Nepali", "ne", "{} दुई वाक्यमा नेपालीमा उत्तर दिनुहोस्।", _only_in("ne"),
     ("पानी किन पर्छ?", "विद्यालयमा के हुन्छ?", "हिमाल कस्तो हुन्छ?", "हात्ती कस्तो हुन्छ?")),
    ("four items with commas", "en",
     "Name four kinds of {}, separated by commas, in one line and without any other word.",
     _both(_items(4), _lines(1)), ("fruit", "tools", "birds", "clothes")),
)  # fmt: skip
"""Constraint, language of the reply, prompt, check, and what is asked about.

The instructions in Hindi and Nepali have not been reviewed by a native speaker.
"""
