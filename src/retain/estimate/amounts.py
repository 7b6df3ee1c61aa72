"""How many steps and tokens a phase comes to, from the sizes of its data alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import Any

from retain.data.split import MAX_HELD_OUT
from retain.estimate.recorded import DataSize
from retain.methods.given import MixSource, Past, Source
from retain.recipe import CellPart, CellPhase

SizeOf = Callable[[Source], DataSize]


@dataclass(frozen=True)
class Amount:
    """What a phase trains on.

    Attributes:
        steps: Of the optimizer.
        examples: Over all steps.
        tokens: Over all steps.
        trained_tokens: Whose loss counts.
    """

    steps: int
    examples: float
    tokens: float
    trained_tokens: float


def amount_of(planned: CellPhase, size_of: SizeOf, *, before: Sequence[str]) -> Amount:
    """What one phase of one arm trains on.

    Old and rehearsed examples come on top of the new ones and leave the steps as they are.

    Args:
        planned: The phase.
        size_of: Gives the size of a source.
        before: Names of the phases before it.
    """
    parts = [_of_part(part, size_of) for part in planned.parts]
    of_mix, of_new, examples, tokens, trained = 0.0, 0.0, 0.0, 0.0, 0.0
    for source, data in _extra(planned, before):
        if source.share is not None and source.share_base == "new_data":
            of_new += source.share
        elif source.share is not None:
            of_mix += source.share
        elif source.num_examples is not None:
            mean = size_of(data[0] if data else planned.phase.data[0])
            examples += source.num_examples
            tokens += source.num_examples * mean.tokens
            trained += source.num_examples * mean.trained_tokens
    factor = (1 + of_new) / (1 - of_mix)
    return Amount(
        steps=sum(part.steps for part in parts),
        examples=factor * sum(part.examples for part in parts) + examples,
        tokens=factor * sum(part.tokens for part in parts) + tokens,
        trained_tokens=factor * sum(part.trained_tokens for part in parts) + trained,
    )


def _of_part(part: CellPart, size_of: SizeOf) -> Amount:
    """The new data of one phase, as its own training draws it."""
    train, sizes = part.train, [size_of(source) for source in part.phase.data]
    available = _available(part, sizes)
    known = sum(size.examples for size in sizes)
    tokens = sum(size.examples * size.tokens for size in sizes) / known
    trained = sum(size.examples * size.trained_tokens for size in sizes) / known
    if train.objective == "pretrain" or not train.completion_only_loss:
        trained = tokens
    elif tokens > train.max_length:  # longer examples lose their end
        trained *= train.max_length / tokens
    if train.objective == "sft":
        tokens = min(tokens, train.max_length)
    if train.max_steps is not None:
        steps = train.max_steps
        drawn = steps * (train.batch_size or (train.batch_tokens or 0) / tokens)
    else:
        drawn = (train.num_train_epochs or 1) * available
        per_step = train.batch_size or (train.batch_tokens or 0) / tokens
        steps = ceil(drawn / per_step)
    return Amount(steps, drawn, drawn * tokens, drawn * trained)


def _available(part: CellPart, sizes: Sequence[DataSize]) -> float:
    """Examples that a phase has to train on: what it reads, less what is held out."""
    shares = [source.share for source in part.phase.data]
    if any(shares):
        given = zip(shares, sizes, strict=True)
        total = min(size.examples / share for share, size in given if share is not None)
    else:
        total = sum(size.examples for size in sizes)
    held_out = part.phase.held_out
    fraction = held_out.fraction or 0.1
    kept = held_out.count if held_out.count is not None else min(fraction * total, MAX_HELD_OUT)
    return max(1.0, total - kept)


def _extra(planned: CellPhase, before: Sequence[str]) -> list[tuple[MixSource, tuple[Source, ...]]]:
    """What methods mix in, and the data it is drawn from where it is their own."""
    found: list[tuple[MixSource, tuple[Source, ...]]] = []
    past = Past(phases=tuple(before))
    for method in planned.methods:
        corpus: Any = method.rehearse(past)
        rehearsed = () if corpus is None else (f"rehearsed:{corpus.name}",)
        data = method.data()
        for source in method.sources(past, rehearsed, Random(0)):
            found.append((source, data.get(source.role, ())))
    return found
