"""The extra sources of a mix: how much of each is asked for, and which examples that is."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle, islice

from retain.data.draw import ROUNDING, Pick, TokenSequence, endless
from retain.errors import DataError

SHARE_OF = ("examples", "trained_tokens")
SHARE_BASE = ("final_mix", "new_data")


@dataclass(frozen=True)
class Extra:
    """A source that is mixed into the new data.

    Attributes:
        role: Its name: ``past:<phase>``, ``extra:<name>``, ``rehearsed:<name>``.
        sequences: What can be drawn. It is gone through at most as many times as the new data.
        share: How much of it, as ``share_of`` and ``share_base`` say; or
        num_examples: how many.
        share_of: What is counted: ``examples`` or ``trained_tokens``.
        share_base: The whole: ``final_mix`` (then below 1) or ``new_data``.
        loss_weight: See ``weigh``.
        allow_fewer: Take all there is, instead of stopping, where that is less than asked.
        skip: How many to pass over.
        draw: Names the seeded order; empty: the role's own.
        is_ordered: The sequences are drawn as they stand, not in a seeded order.
        max_token_weight: See ``weigh``.
    """

    role: str
    sequences: Sequence[TokenSequence]
    share: float | None = None
    share_of: str = "examples"
    share_base: str = "final_mix"
    loss_weight: str = "by_token"
    num_examples: int | None = None
    allow_fewer: bool = False
    skip: int = 0
    draw: str = ""
    is_ordered: bool = False
    max_token_weight: float | None = None

    def __post_init__(self) -> None:
        if self.share_of not in SHARE_OF or self.share_base not in SHARE_BASE:
            got = f"share_of {self.share_of!r}, share_base {self.share_base!r}"
            known = f"{' or '.join(SHARE_OF)}; {' or '.join(SHARE_BASE)}"
            raise DataError(f"{self.role}: {got}; known: {known}")
        if (self.share is None) == (self.num_examples is None):
            raise DataError(f"{self.role}: give either share or num_examples")
        if self.share is not None and not 0 < self.share < float("inf"):
            raise DataError(f"{self.role}: share must be above 0, got {self.share}")
        if self.num_examples is not None and self.num_examples < 1:
            raise DataError(f"{self.role}: num_examples must be at least 1")
        if not self.sequences:
            raise DataError(f"{self.role}: {self.asked} asked, and it has no examples")

    @property
    def asked(self) -> str:
        """What is asked of it, in words."""
        return f"{self.num_examples} examples" if self.share is None else f"share {self.share:g}"

    def picks(self, seed: int) -> Iterator[Pick]:
        """Its sequences in the order they are drawn, without end."""
        if self.is_ordered:
            return (Pick(self.role, one) for one in islice(cycle(self.sequences), self.skip, None))
        name = f"{self.role}/{self.draw}" if self.draw else self.role
        return endless(self.role, self.sequences, name, seed, start=self.skip)


class Drawer:
    """Draws so many of each extra source as belong to a number of new picks.

    Args:
        extras: All of one mix.
        new: The new picks in order; never more than these are asked about.
        passes: How often the new data is gone through, and so an extra source at most.
        seed: Of the run.
    """

    def __init__(
        self, extras: Sequence[Extra], new: Sequence[Pick], passes: int, seed: int
    ) -> None:
        self.extras = extras
        self.new = new
        self.passes = passes
        self.by_token = any(e.share_of == "trained_tokens" for e in extras if e.share is not None)
        self.new_size = running(new, self.by_token)
        self.fixed = {
            number: list(islice(self._most(extra, seed), extra.num_examples))
            for number, extra in enumerate(extras)
            if extra.num_examples is not None
        }
        most = enumerate(zip(extras, self._asked(len(new)), strict=True))
        self.streams = [
            self.fixed.get(number) or self._stream(extra, asked, seed)
            for number, (extra, asked) in most
        ]
        self.sizes = [running(stream, self.by_token) for stream in self.streams]

    def _most(self, extra: Extra, seed: int) -> Iterator[Pick]:
        """All that a source may give, in order."""
        return islice(extra.picks(seed), self.passes * len(extra.sequences))

    def _stream(self, extra: Extra, asked: float, seed: int) -> list[Pick]:
        """Picks up to the size asked, or all that the source may give."""
        picks: list[Pick] = []
        size = 0
        for pick in self._most(extra, seed):
            picks.append(pick)
            size += _size(pick, self.by_token)
            if size >= asked:
                break
        return picks

    def counts(self, num_new: int) -> list[int]:
        """How many of each source go with the first ``num_new`` new picks."""
        asked = self._asked(num_new)
        return [nearest(sizes, size) for sizes, size in zip(self.sizes, asked, strict=True)]

    def _asked(self, num_new: int) -> list[float]:
        """The size of each source in examples or trained tokens, whether there is enough or not.

        In examples, whole numbers, each within a half of its share of the sum they lead to.
        """
        new = self.new_size[num_new]
        of_new = [
            self._fixed_size(number) or (e.share or 0) * new * (e.share_base == "new_data")
            for number, e in enumerate(self.extras)
        ]
        shares = [(e.share or 0) * (e.share_base == "final_mix") for e in self.extras]
        if self.by_token:
            total = (new + sum(of_new)) / (1 - sum(shares))
            return [fixed + share * total for fixed, share in zip(of_new, shares, strict=True)]
        fixed = [int(size + 0.5 + ROUNDING) for size in of_new]
        total, before = (new + sum(fixed)) / (1 - sum(shares)), -1.0
        asked: list[float] = []
        while total != before:
            before = total
            asked = [
                whole + int(share * total + 0.5 + ROUNDING)
                for whole, share in zip(fixed, shares, strict=True)
            ]
            total = float(new + sum(asked))
        return asked

    def _fixed_size(self, number: int) -> int:
        """Size of a source of which a number of examples is asked; 0 for others."""
        return sum(_size(pick, self.by_token) for pick in self.fixed.get(number, ()))

    def drawn(self, num_new: int) -> tuple[list[list[Pick]], list[str]]:
        """The picks of each source, and a note on each that ran short.

        Raises:
            DataError: If a source has less than is asked and may not be short, or less than one
                example is asked of it.
        """
        notes = []
        counts = self.counts(num_new)
        for extra, asked, sizes, num in zip(
            self.extras, self._asked(num_new), self.sizes, counts, strict=True
        ):
            if num == 0:
                raise DataError(
                    f"{extra.role}: {extra.asked} of {num_new} new sequences is less than "
                    "one example; raise the share, or train on more"
                )
            if extra.num_examples is not None and extra.num_examples > num:
                notes.append(self._short(extra, extra.num_examples, num))
            elif asked > sizes[-1]:
                notes.append(self._short(extra, asked, sizes[-1]))
        streams = zip(self.streams, counts, strict=True)
        return [stream[:num] for stream, num in streams], notes

    def _short(self, extra: Extra, asked: float, found: int) -> str:
        unit = extra.share_of.replace("_", " ")
        times = f" in {self.passes} passes" if self.passes > 1 else ""
        if extra.share is None:
            text = f"{extra.role}: {round(asked)} examples are asked for; it has {found}{times}"
        else:
            text = (
                f"{extra.role}: share {extra.share:g} asks for {round(asked)} {unit}; it has "
                f"{found}{times}, which reaches {extra.share * found / asked:.3g}"
            )
        if not extra.allow_fewer:
            more = "have more written (num_documents, num_tokens)"
            more = more if extra.role.startswith("rehearsed:") else "give more data"
            raise DataError(f"{text}. Ask for less, {more}, or set allow_fewer: true.")
        return text


def running(picks: Sequence[Pick], by_token: bool) -> list[int]:
    """Size of the first 0, 1, 2, ... picks."""
    return list(accumulate((_size(pick, by_token) for pick in picks), initial=0))


def _size(pick: Pick, by_token: bool) -> int:
    return pick.sequence.num_trained if by_token else 1


def nearest(running: Sequence[int], size: float) -> int:
    """The number of picks whose size is nearest to what is asked; all if that is not enough."""
    above = bisect_left(running, size)
    if above == len(running):
        return above - 1
    if above and size - running[above - 1] <= running[above] - size:
        return above - 1
    return above
