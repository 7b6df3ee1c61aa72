"""The one mixer: which sequence is learnt in which optimizer step, and what it weighs.

A pure function of the data, the seed and what is asked. New data comes in the order it would have
alone; extra sources (replay, rehearsal, stand-ins for a past) are dealt evenly between it. The
picks of a smaller share are the first of those of a larger one.

Three budgets. ``same_new_data``: the new sequences of every step stay, extra ones come on top.
``same_total_tokens``: steps and trained tokens in all stay as they would be without extra sources
(to within a sequence), and as much new data is left out at the end of its order as that takes.
``same_total_compute``: the same with token passes, those included that writing the extra sources
took. A token passes once through the model where it is read or written, and counts three times
where it is trained on, for a backward pass costs about two forward ones (Kaplan et al., "Scaling
Laws for Neural Language Models", 2020, section 2.1). What stands still is counted as if it moved,
and attention's part that grows with the length is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, get_args

from retain.data.draw import ROUNDING, Part, Pick, TokenSequence
from retain.data.extras import Drawer, Extra
from retain.data.weigh import Stake, weights
from retain.errors import DataError

Budget = Literal["same_new_data", "same_total_tokens", "same_total_compute"]
PASSES_OF_TRAINING = 3
"""Token passes of a token in a training step: forward one, backward two."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence in training order; the columns of ``stream.parquet``."""

    step: int
    source: str
    sequence: TokenSequence
    weight: float


@dataclass(frozen=True)
class Mix:
    """The whole order, and what came of what was asked.

    Attributes:
        rows: In training order; every optimizer step has at least one.
        num_steps: Optimizer steps.
        sources: By source: ``examples``, ``different_examples``, ``tokens``, ``trained_tokens``,
            ``asked`` (share, unit and base; None for new data without a share) and
            ``realised_share`` of the mix in ``examples``, ``trained_tokens``, ``loss_weight`` and
            ``loss``: its mean part of a step's loss weight, which is less than ``loss_weight``
            where a source is in few steps, for every step's loss is divided by its own total.
        notes: What a reader of the report must know, such as a source that ran short.
    """

    rows: list[Row]
    num_steps: int
    sources: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def mix(
    parts: Sequence[Part],
    extras: Sequence[Extra],
    *,
    seed: int,
    budget: Budget = "same_new_data",
    written: int = 0,
) -> Mix:
    """Put the new data of a phase and its extra sources in training order.

    Args:
        parts: The new data; several for joint training, whose sequences are dealt evenly over the
            sum of their steps.
        extras: What is mixed in; all count their share in the same unit.
        seed: Of the run; each order is drawn by a generator of its own.
        budget: What stays as it would be without extra sources.
        written: For ``same_total_compute``, the token passes that writing the extra sources took.

    Raises:
        DataError: If the shares leave nothing for the new data or are less than one example, a
            source is too small, a sequence has no trained token, or names are used twice.
    """
    _check(parts, extras)
    steps, passes = _plain(parts, seed)
    if budget not in get_args(Budget):
        raise DataError(f"budget {budget!r}: known are {', '.join(get_args(Budget))}")
    dealt, notes = steps, list[str]()
    if extras:
        drawer = Drawer(extras, [pick for step in steps for pick in step], passes, seed)
        dealt, notes = _with_extras(steps, drawer, budget, written)
    picks = [pick for step in dealt for pick in step]
    stakes = _stakes(parts, extras)
    weight = weights(picks, stakes)
    numbers = [number for number, step in enumerate(dealt) for _ in step]
    rows = [
        Row(number, pick.source, pick.sequence, one)
        for number, pick, one in zip(numbers, picks, weight, strict=True)
    ]
    return Mix(rows, len(dealt), _facts(rows, parts, extras), notes)


def _check(parts: Sequence[Part], extras: Sequence[Extra]) -> None:
    everything = [(source.name, source.sequences) for part in parts for source in part.sources]
    everything += [(extra.role, extra.sequences) for extra in extras]
    names = [name for name, _ in everything]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"sources named twice in one mix: {', '.join(twice)}")
    for name, sequences in everything:
        for sequence in sequences:
            if not sequence.num_trained:
                raise DataError(f"{name}: example {sequence.example_id} has no trained token")
    shared = [extra for extra in extras if extra.share is not None]
    if len({extra.share_of for extra in shared}) > 1:
        listed = ", ".join(f"{extra.role}: {extra.share_of}" for extra in shared)
        raise DataError(f"all shares of a mix must count the same (share_of); got {listed}")
    total = sum(extra.share or 0 for extra in shared if extra.share_base == "final_mix")
    if total >= 1 - ROUNDING:
        listed = ", ".join(f"{extra.role} {extra.share:g}" for extra in shared)
        raise DataError(
            f"shares of the final mix add up to {total:g} ({listed}), which leaves nothing for the "
            "new data; lower them below 1, or use share_base: new_data"
        )


# ---------------------------------------------------------------- new data


def _plain(parts: Sequence[Part], seed: int) -> tuple[list[list[Pick]], int]:
    """The optimizer steps without extra sources, and how often the new data is gone through."""
    batches = [part.batches(seed) for part in parts]
    passes = max(epochs for _, epochs in batches)
    if len(parts) == 1:
        return batches[0][0], passes
    num_steps = sum(len(steps) for steps, _ in batches)
    streams = [[pick for step in steps for pick in step] for steps, _ in batches]
    return _partition(_interleaved(streams), num_steps), passes


def _interleaved(streams: Sequence[Sequence[Pick]]) -> list[Pick]:
    """Several streams as one, each spread evenly over the whole."""
    placed = [
        ((k + 0.5) / len(stream), index, k)
        for index, stream in enumerate(streams)
        for k in range(len(stream))
    ]
    return [streams[index][k] for _, index, k in sorted(placed)]


def _partition(picks: Sequence[Pick], num_steps: int) -> list[list[Pick]]:
    """Cut a stream into so many steps of about equal tokens, none of them empty."""
    if len(picks) < num_steps:
        raise DataError(
            f"{len(picks)} sequences cannot fill {num_steps} optimizer steps; ask for fewer steps, "
            "or a smaller share"
        )
    ends = list(accumulate(pick.sequence.num_tokens for pick in picks))
    steps: list[list[Pick]] = []
    start = 0
    for number in range(num_steps):
        target = ends[-1] * (number + 1) / num_steps
        end = start + 1
        last = len(picks) - (num_steps - number - 1)
        while end < last and (ends[end - 1] + ends[end]) / 2 <= target:
            end += 1
        steps.append(list(picks[start : last if number == num_steps - 1 else end]))
        start = end
    return steps


# ---------------------------------------------------------------- budgets


def _with_extras(
    steps: list[list[Pick]], drawer: Drawer, budget: Budget, written: int
) -> tuple[list[list[Pick]], list[str]]:
    if budget == "same_new_data":
        return _added(steps, drawer)
    if budget == "same_total_tokens":
        return _exchanged(len(steps), drawer, _trained, 0, "The shares leave")
    whole = sum(map(_passes, drawer.new))
    why = (
        f"of {whole:,} token passes, which training on the new data alone takes, writing took "
        f"{written:,}; it and the shares leave"
    )
    return _exchanged(len(steps), drawer, _passes, written, why)


def _added(steps: list[list[Pick]], drawer: Drawer) -> tuple[list[list[Pick]], list[str]]:
    """Extra picks on top of each step, spread evenly over the new ones."""
    drawn, notes = drawer.drawn(len(drawer.new))
    dealt = [list(step) for step in steps]
    step_of = [number for number, step in enumerate(steps) for _ in step]
    for picks in drawn:
        for k, pick in enumerate(picks):
            dealt[step_of[int((k + 0.5) / len(picks) * len(step_of))]].append(pick)
    return dealt, notes


def _exchanged(
    num_steps: int, drawer: Drawer, size: Callable[[Pick], int], spent: int, why: str
) -> tuple[list[list[Pick]], list[str]]:
    """Extra picks in place of the last new ones, so that the size in all stays.

    Args:
        num_steps: Optimizer steps, as they would be without extra sources.
        drawer: Of the extra sources.
        size: What is counted of a pick.
        spent: As much is gone before.
        why: The beginning of what is said where nothing is left.
    """
    new = _running(drawer.new, size)
    streams = [_running(stream, size) for stream in drawer.streams]

    def total(num_new: int) -> int:
        counts = drawer.counts(num_new)
        return spent + new[num_new] + sum(s[n] for s, n in zip(streams, counts, strict=True))

    low, high = 0, len(drawer.new)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if total(middle) <= new[-1] else (low, middle - 1)
    if low == 0:
        raise DataError(
            f"{why} no room for new data under this budget; lower the shares, have less written "
            "(num_tokens, num_documents), or take another budget"
        )
    drawn, notes = drawer.drawn(low)
    return _partition(_interleaved([drawer.new[:low], *drawn]), num_steps), notes


def _running(picks: Sequence[Pick], size: Callable[[Pick], int]) -> list[int]:
    return list(accumulate(map(size, picks), initial=0))


def _trained(pick: Pick) -> int:
    return pick.sequence.num_trained


def _passes(pick: Pick) -> int:
    return PASSES_OF_TRAINING * pick.sequence.num_tokens


# ---------------------------------------------------------------- what came of it


def _stakes(parts: Sequence[Part], extras: Sequence[Extra]) -> list[Stake]:
    new = [
        Stake(source.name, source.loss_weight, source.share, of_new=True, is_new=True)
        for part in parts
        for source in part.sources
    ]
    return new + [
        Stake(
            e.role,
            e.loss_weight,
            e.share,
            of_new=e.share_base == "new_data",
            is_new=False,
            max_token_weight=e.max_token_weight,
        )
        for e in extras
    ]


def _facts(
    rows: Sequence[Row], parts: Sequence[Part], extras: Sequence[Extra]
) -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = {}
    for name, asked in _asked_shares(parts, extras):
        own = [row for row in rows if row.source == name]
        facts[name] = {
            "examples": len(own),
            "different_examples": len({row.sequence.example_id for row in own}),
            "tokens": sum(row.sequence.num_tokens for row in own),
            "trained_tokens": sum(row.sequence.num_trained for row in own),
            "loss_weight": sum(row.sequence.num_trained * row.weight for row in own),
            "asked": asked,
        }
    for unit in ("examples", "trained_tokens", "loss_weight"):
        total = sum(fact[unit] for fact in facts.values())
        for fact in facts.values():
            fact.setdefault("realised_share", {})[unit] = fact[unit] / total
    parts_of_loss = _loss_parts(rows)
    for name, fact in facts.items():
        fact["realised_share"]["loss"] = parts_of_loss.get(name, 0.0)
    return facts


def _loss_parts(rows: Sequence[Row]) -> dict[str, float]:
    """Each source's part of a step's loss weight, in the mean over all steps."""
    by_step: dict[int, dict[str, float]] = {}
    for row in rows:
        step = by_step.setdefault(row.step, {})
        weight = row.weight * row.sequence.num_trained
        step[row.source] = step.get(row.source, 0.0) + weight
    parts: dict[str, float] = {row.source: 0.0 for row in rows}
    for step in by_step.values():
        total = sum(step.values())
        for name, weight in step.items():
            parts[name] += weight / total / len(by_step)
    return parts


def _asked_shares(
    parts: Sequence[Part], extras: Sequence[Extra]
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    for part in parts:
        for source in part.sources:
            asked = {"share": source.share, "share_of": "examples", "share_base": "new_data"}
            yield source.name, None if source.share is None else asked
    for extra in extras:
        if extra.share is None:
            size: dict[str, Any] = {"num_examples": extra.num_examples}
        else:
            size = {
                "share": extra.share,
                "share_of": extra.share_of,
                "share_base": extra.share_base,
            }
        yield extra.role, {**size, "loss_weight": extra.loss_weight}
