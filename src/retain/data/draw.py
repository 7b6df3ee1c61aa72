"""In which order sequences are drawn, and which of them make one optimizer step.

Every order is a permutation of its own, from the seed and the name of what is drawn: what one
source holds never changes the order of another.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import count, islice
from math import ceil
from random import Random

from retain.data.render import Tokens
from retain.errors import DataError

ROUNDING = 1e-9
BATCHES = ("batch_size", "batch_tokens", "batch_trained_tokens")
LENGTHS = ("max_steps", "num_train_epochs")


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One sequence, packed small: a hundred thousand of them fit into memory.

    Attributes:
        example_id: Of the example, or of a block of running text.
        input_ids: The tokens.
        trained: One byte a token, 1 where its loss counts.
    """

    example_id: str
    input_ids: "array[int]"
    trained: bytes

    @classmethod
    def of(cls, example_id: str, tokens: Tokens) -> "TokenSequence":
        """Pack rendered tokens."""
        return cls(example_id, array("i", tokens.input_ids), bytes(tokens.trained))

    @property
    def num_tokens(self) -> int:
        """Its length."""
        return len(self.input_ids)

    @property
    def num_trained(self) -> int:
        """Tokens whose loss counts."""
        return self.trained.count(1)


@dataclass(frozen=True)
class NewSource:
    """One source of a phase's own data.

    Attributes:
        name: For messages and facts.
        sequences: What it holds.
        share: Its part of the examples of the phase's own data; None takes it whole.
        loss_weight: ``by_token``, ``by_example`` or ``match_share``.
    """

    name: str
    sequences: Sequence[TokenSequence]
    share: float | None = None
    loss_weight: str = "by_token"


@dataclass(frozen=True)
class Pick:
    """A sequence that was drawn, and the name of its source."""

    source: str
    sequence: TokenSequence


@dataclass(frozen=True)
class Part:
    """The new data of a phase (of several, in joint training), and how long it is trained on.

    Attributes:
        role: ``new``, or ``new:<phase>``.
        sources: At least one.
        batch_size: Sequences in an optimizer step; or
        batch_tokens: most tokens in an optimizer step, where a longer sequence is alone; or
        batch_trained_tokens: the same, counting those whose loss counts.
        max_steps: Optimizer steps, as many epochs as that takes; or
        num_train_epochs: times the data is gone through; the last batch of each may be smaller.
    """

    role: str
    sources: Sequence[NewSource]
    batch_size: int | None = None
    batch_tokens: int | None = None
    batch_trained_tokens: int | None = None
    max_steps: int | None = None
    num_train_epochs: float | None = None

    def __post_init__(self) -> None:
        for group in (BATCHES, LENGTHS):
            given = [name for name in group if getattr(self, name) is not None]
            if len(given) != 1:
                got = " and ".join(given) or "neither"
                raise DataError(f"{self.role}: give either {' or '.join(group)}, got {got}")
            if not getattr(self, given[0]) > 0:
                raise DataError(f"{self.role}: {given[0]} must be above 0")
        for source in self.sources:
            if not source.sequences:
                raise DataError(f"{self.role}: source {source.name} has nothing to train on")

    @cached_property
    def quotas(self) -> dict[str, int]:
        """Sequences of each source in one epoch.

        A source without a share gives all it has, and the shares of the others follow. Where all
        have shares, an epoch is the longest in which none has to give a sequence twice.
        """
        whole = [source for source in self.sources if source.share is None]
        shared = [source for source in self.sources if source.share is not None]
        total_share = sum(source.share or 0 for source in shared)
        if not whole and abs(total_share - 1) > 1e-6:
            raise DataError(
                f"{self.role}: every source has a share, so they must add up to 1; "
                f"they add up to {total_share:g}"
            )
        if whole and total_share >= 1:
            raise DataError(
                f"{self.role}: the shares add up to {total_share:g}, which leaves nothing for "
                f"{', '.join(source.name for source in whole)}; lower them below 1"
            )
        if whole:
            length = sum(len(source.sequences) for source in whole) / (1 - total_share)
        else:
            length = min(len(source.sequences) / (source.share or 1) for source in shared)
        quotas = {source.name: len(source.sequences) for source in whole}
        for source in shared:
            quotas[source.name] = self._quota(source, length)
        return quotas

    def _quota(self, source: NewSource, length: float) -> int:
        share, found = source.share or 0, len(source.sequences)
        asked = int(share * length + 0.5 + ROUNDING)
        if 0 < asked <= found:
            return asked
        raise DataError(
            f"{self.role}: source {source.name} with share {share:g} is asked for {asked} of an "
            f"epoch's {round(length)} sequences and has {found}, which reaches "
            f"{min(asked, found) / length:.3g}; give it another share or the others less data"
        )

    def epoch(self, number: int, seed: int) -> list[Pick]:
        """One epoch in order: a new permutation of each source, interleaved evenly."""
        whole: list[Pick] = []
        placed: list[tuple[float, int, Pick]] = []
        for index, source in enumerate(self.sources):
            if source.share is None:
                whole += [Pick(source.name, sequence) for sequence in source.sequences]
                continue
            quota = self.quotas[source.name]
            name = f"{self.role}/{source.name}"
            drawn = endless(source.name, source.sequences, name, seed, start=number * quota)
            own = list(islice(drawn, quota))
            placed += [((k + 0.5) / quota, index, pick) for k, pick in enumerate(own)]
        generator(seed, f"{self.role}/epoch {number}").shuffle(whole)
        placed += [((k + 0.5) / len(whole), -1, pick) for k, pick in enumerate(whole)]
        return [pick for _, _, pick in sorted(placed, key=lambda entry: entry[:2])]

    def batches(self, seed: int) -> tuple[list[list[Pick]], int]:
        """The picks of every optimizer step, and how many epochs were begun."""
        if self.max_steps is not None:
            return self._steps(seed, self.max_steps)
        assert self.num_train_epochs is not None, "checked in __post_init__"
        epochs = ceil(self.num_train_epochs - ROUNDING)
        steps: list[list[Pick]] = []
        for number in range(epochs):
            picks = self.epoch(number, seed)
            part = min(1.0, self.num_train_epochs - number)
            steps += self._filled(iter(picks[: max(1, round(part * len(picks)))]))
        return steps, epochs

    def _steps(self, seed: int, num_steps: int) -> tuple[list[list[Pick]], int]:
        begun = 0

        def picks() -> Iterator[Pick]:
            nonlocal begun
            for number in count():
                begun = number + 1
                yield from self.epoch(number, seed)

        filled = self._filled(picks())
        return [next(filled) for _ in range(num_steps)], begun

    def _filled(self, picks: Iterator[Pick]) -> Iterator[list[Pick]]:
        """Batches in turn; a sequence is never cut."""
        batch: list[Pick] = []
        filled, most = 0, self.batch_size or self.batch_tokens or self.batch_trained_tokens or 0
        for pick in picks:
            size = self._size(pick.sequence)
            if batch and filled + size > most:
                yield batch
                batch, filled = [], 0
            batch.append(pick)
            filled += size
        if batch:
            yield batch

    def _size(self, sequence: TokenSequence) -> int:
        """How much of a step a sequence fills."""
        if self.batch_size is not None:
            return 1
        return sequence.num_trained if self.batch_tokens is None else sequence.num_tokens


def endless(
    source: str, sequences: Sequence[TokenSequence], name: str, seed: int, *, start: int = 0
) -> Iterator[Pick]:
    """The sequences in a seeded order, then all again in another one, and so on.

    Args:
        source: Name for the picks.
        sequences: At least one.
        name: Names the order, together with the seed.
        seed: Of the run.
        start: How many to pass over.
    """
    for number in count(start // len(sequences)):
        order = list(range(len(sequences)))
        generator(seed, f"{name}/pass {number}").shuffle(order)
        is_first = number == start // len(sequences)
        for index in order[start % len(sequences) if is_first else 0 :]:
            yield Pick(source, sequences[index])


def generator(seed: int, name: str) -> Random:
    """A generator of one's own: the same for the same seed and name, unlike any other's."""
    digest = sha256(f"{seed}:{name}".encode()).digest()
    return Random(int.from_bytes(digest[:16], "big"))
