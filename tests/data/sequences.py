"""Token sequences made from numbers, for the mixer."""

from array import array
from functools import lru_cache

from retain.data.draw import NewSource, Part, TokenSequence


def sequence(name, length=4, trained=None):
    """``length`` tokens of which the last ``trained`` are trained; all but the first by default."""
    trained = length - 1 if trained is None else trained
    flags = bytes([0] * (length - trained) + [1] * trained)
    return TokenSequence(str(name), array("i", range(length)), flags)


def many(prefix, lengths):
    """One sequence for each length."""
    return _many(prefix, tuple(lengths))


@lru_cache(maxsize=64)
def _many(prefix, lengths):
    return tuple(sequence(f"{prefix}{n}", length) for n, length in enumerate(lengths))


def part(sequences, role="new", **length):
    """New data of one source; two sequences in a step and one epoch unless said."""
    if not {"batch_tokens", "batch_trained_tokens"} & set(length):
        length.setdefault("batch_size", 2)
    if "max_steps" not in length:
        length.setdefault("num_train_epochs", 1)
    return Part(role=role, sources=[NewSource(role, sequences)], **length)


def names(picks):
    """The example ids of picks."""
    return [pick.sequence.example_id for pick in picks]
