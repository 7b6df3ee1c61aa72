"""Every fault of a source, with its place, and what the source consists of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retain.data.example import Example
from retain.data.fault import Fault
from retain.data.render import Objective, render
from retain.data.sources import Found, Source, licence, read
from retain.errors import DataError

QUANTILES = (0, 0.05, 0.5, 0.95, 1)
NUM_LANGUAGE_SAMPLES = 200
NUM_LANGUAGE_CHARACTERS = 1000


@dataclass
class Report:
    """What ``check`` found.

    Attributes:
        faults: All of them, in the order of the source.
        num_examples: Rows without a fault, duplicates and over-long ones included.
        splits: Rows by split; "" where rows name none.
        formats: Rows that are dialogues, choices or text.
        labels: Rows by class, where they name one.
        characters: Length at the quantiles 0, 0.05, 0.5, 0.95, 1.
        tokens: The same in tokens; {} without a tokenizer.
        num_tokens: Tokens in all, as the model sees them; 0 without a tokenizer.
        num_trained_tokens: Those whose loss counts.
        tokens_per_word: Tokens for each stretch between white space; None without a tokenizer.
        languages: Part of the rows in each language (ISO 639-1), from at most 200 of them.
        licences: As rows or the table of embedded data state them.
    """

    faults: list[Fault]
    num_examples: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    characters: dict[float, int] = field(default_factory=dict)
    tokens: dict[float, int] = field(default_factory=dict)
    num_tokens: int = 0
    num_trained_tokens: int = 0
    tokens_per_word: float | None = None
    languages: dict[str, float] = field(default_factory=dict)
    licences: list[str] = field(default_factory=list)


def check(
    source: str | Mapping[str, Any] | Source,
    tokenizer: Any = None,
    *,
    objective: Objective = "sft",
    max_length: int | None = None,
) -> Report:
    """Read a whole source and say all that is wrong with it.

    Args:
        source: What to read; every split of it unless it names one.
        tokenizer: A transformers tokenizer; without one nothing is known about tokens.
        objective: As for training.
        max_length: Longest sequence in tokens; None calls nothing over-long.

    Raises:
        DataError: If there is nothing there, or the format asked for does not exist.
        EmbeddedError: If no embedded data has that name, or it cannot be fetched.
    """
    source = Source.of(source)
    checker = _Checker(tokenizer, objective, max_length)
    for found in read(source):
        if isinstance(found, Fault):
            checker.faults.append(found)
        elif source.split is None or found.split == source.split:
            checker.take(found)
    if not checker.faults and not checker.characters:
        checker.faults.append(Fault(source.name, "empty", "no rows at all"))
    return checker.report(licence(source))


@dataclass
class _Checker:
    """Faults and counts so far."""

    tokenizer: Any
    objective: Objective
    max_length: int | None
    faults: list[Fault] = field(default_factory=list)
    first: dict[str, str] = field(default_factory=dict)
    splits: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    licences: set[str] = field(default_factory=set)
    characters: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    num_trained: int = 0
    num_words: int = 0
    samples: dict[str, str] = field(default_factory=dict)

    def take(self, found: Found) -> None:
        example = found.example
        self.splits[found.split] += 1
        self.formats[_form(example)] += 1
        if example.label is not None:
            self.labels[example.label] += 1
        if found.licence:
            self.licences.add(found.licence)
        text = " ".join(example.contents)
        self.characters.append(len(text))
        self._sample(example.id, text)
        if example.id in self.first:
            same = f"same content as {self.first[example.id]}"
            self.faults.append(Fault(found.where, "duplicate", same))
        else:
            self.first[example.id] = found.where
        if self.tokenizer is not None:
            self.num_words += len(text.split())
            self._take_tokens(found)

    def _sample(self, key: str, text: str) -> None:
        """Keep the 200 rows with the smallest ids, so that the sample follows from the data."""
        self.samples[key] = text[:NUM_LANGUAGE_CHARACTERS]
        if len(self.samples) > 2 * NUM_LANGUAGE_SAMPLES:
            kept = sorted(self.samples)[:NUM_LANGUAGE_SAMPLES]
            self.samples = {name: self.samples[name] for name in kept}

    def _take_tokens(self, found: Found) -> None:
        try:
            tokens = render(found.example, self.tokenizer, self.objective)
        except DataError as error:
            self.faults.append(Fault(found.where, "template", str(error)))
            return
        length, most = len(tokens.input_ids), self.max_length
        self.tokens.append(length)
        self.num_trained += tokens.num_trained
        if most is not None and length > most:
            text = f"{length} tokens, max_length is {most}"
            is_masked = not any(tokens.trained[:most])
            kind = "all tokens masked" if is_masked else "over-long"
            text += "; every trained token would be cut off" if is_masked else ""
            self.faults.append(Fault(found.where, kind, text))
        elif not tokens.num_trained:
            self.faults.append(Fault(found.where, "all tokens masked", "no token is trained"))

    def report(self, stated: str | None) -> Report:
        words = self.num_words if self.tokenizer is not None else 0
        texts = [self.samples[name] for name in sorted(self.samples)[:NUM_LANGUAGE_SAMPLES]]
        return Report(
            faults=self.faults,
            num_examples=len(self.characters),
            splits=dict(self.splits),
            formats=dict(self.formats),
            labels=dict(self.labels.most_common()),
            characters=quantiles(self.characters),
            tokens=quantiles(self.tokens),
            num_tokens=sum(self.tokens),
            num_trained_tokens=self.num_trained,
            tokens_per_word=sum(self.tokens) / words if words else None,
            languages=languages(texts),
            licences=sorted(self.licences | ({stated} if stated else set())),
        )


def _form(example: Example) -> str:
    if example.messages is None:
        return "text"
    return "choices" if example.choices else "dialogue"


def quantiles(numbers: Sequence[int]) -> dict[float, int]:
    """The numbers at the quantiles 0, 0.05, 0.5, 0.95 and 1; {} for none.

    >>> quantiles([1, 2, 3])
    {0: 1, 0.05: 1, 0.5: 2, 0.95: 3, 1: 3}
    """
    if not numbers:
        return {}
    ordered = sorted(numbers)
    return {part: ordered[round(part * (len(ordered) - 1))] for part in QUANTILES}


def languages(texts: Sequence[str]) -> dict[str, float]:
    """Part of the texts in each language (ISO 639-1), most frequent first; guessed if short."""
    if not texts:
        return {}
    import py3langid

    counts = Counter(py3langid.classify(text)[0] for text in texts)
    return {language: num / len(texts) for language, num in counts.most_common()}
