"""Threads of torch for as long as a step computes: a resume uses those it was started with."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from retain.steps.durable import write_file


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Inside, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def first_threads(partial: Path) -> Iterator[int]:
    """Inside, torch computes with the threads that the step of this folder was first started with.

    Yields:
        Their number.
    """
    memo = partial / "threads.json"
    first = _remembered(memo)
    if first is None:
        first = torch.get_num_threads()
        write_file(memo, json.dumps(first))
    with threads(first):
        yield first


def _remembered(memo: Path) -> int | None:
    """The number in a memo; None if there is none or it is torn."""
    try:
        number = json.loads(memo.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return number if type(number) is int and number > 0 else None
