"""Steps of kind ``boundary`` on a mix: what blocks that do not move make of its sequences.

Inputs: ``mix``; ``trainable``; ``model`` (absent in a first phase).
Output: ``boundary.json`` (depth, 0 where nothing is kept, and why) and, where something is, the
states of every distinct sequence (``model.states_file``).

The states are computed in batches of this step's own, whatever the phase's micro-batches are: a
phase that reads them is bit-equal to itself however it was stopped, and within rounding of one that
computes them anew.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from retain.model import cache
from retain.model.boundary import Boundary, depth_below, why_not
from retain.model.layers import places
from retain.model.precision import autocast
from retain.model.states_file import FILES, StatesWriter, size_bytes, token_key
from retain.model.threads import first_threads
from retain.steps.work import Work
from retain.train.below import FACTS
from retain.train.forward import Forward, make_forward
from retain.train.randomness import global_stream
from retain.train.step import start_folder
from retain.train.stream import Row, Stream, read_stream

VERSION = 2
BATCH_TOKENS = 2048
PART_OF_DISK = 0.5  # of what is free; states are a convenience
SAME = 1e-3  # of the length of states; dropout changes them by a tenth and more


def run(work: Work, *, base: Path, device: str = "auto") -> None:
    """Compute and keep the states of a mix, or say why nothing is kept.

    Args:
        work: The running step; settings ``precision`` and ``stored``.
        base: Folder of the base model, where the phase starts if there is no input ``model``.
        device: ``auto``, or a device of torch.

    Raises:
        ModelError: If the model does not open.
        Interrupted: On a signal; the same step goes on later.
    """
    settings = work.step.settings
    stream = read_stream(work.input("mix", "stream.parquet"))
    loaded = cache.get(start_folder(work, base), precision=settings["precision"], device=device)
    model = loaded.model
    chosen = json.loads(work.input("trainable", "trainable.json").read_text("utf-8"))
    reason = why_not(model)
    depth = 0 if reason else depth_below(places(model), chosen["names"])
    rows = list(distinct(stream))
    num_tokens = sum(row.num_tokens for row in rows)
    size = size_bytes(num_tokens, model.config.get_text_config().hidden_size, settings["stored"])
    reason = reason or _not_worth(work, depth, size, stream, num_tokens)
    reason = reason or _write(work, model, depth, rows)
    facts: dict[str, Any] = {"depth": 0 if reason else depth, "reason": reason}
    if not reason:
        facts |= {"tokens": num_tokens, "bytes": size, "stored": settings["stored"]}
    (work.output / FACTS).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    work.note(**facts)
    if reason:
        work.event("boundary", depth=0, reason=reason)


def distinct(stream: Stream) -> Iterator[Row]:
    """Every sequence with a loss once, in the order of first use."""
    seen = set()
    for rows in stream.steps:
        for row in rows:
            key = token_key(row.input_ids)
            if key not in seen and row.num_trained_tokens:
                seen.add(key)
                yield row


def _not_worth(work: Work, depth: int, size: int, stream: Stream, num_tokens: int) -> str:
    """Why the states are not kept; "" where they are."""
    if depth == 0:
        return "the embeddings or the lowest block move"
    if num_tokens == stream.num_tokens:
        return "every sequence is read once"
    free = shutil.disk_usage(work.partial).free
    if size > PART_OF_DISK * free:
        return f"they take {size / 1e9:.1f} GB of {free / 1e9:.1f} GB free"
    return ""


@torch.no_grad()
def _write(work: Work, model: Any, depth: int, rows: Sequence[Row]) -> str:
    """Write the states; or why nothing is written."""
    forward = make_forward(model, max(row.num_tokens for row in rows))
    boundary = Boundary(forward.model, depth)
    if _varies(forward, boundary, rows[:1]):
        return "it has dropout"
    width = model.config.get_text_config().hidden_size
    writer = StatesWriter(work.partial, width, work.step.settings["stored"])
    groups = forward.groups(rows, BATCH_TOKENS)
    with first_threads(work.partial):
        for done, group in enumerate(groups):
            work.check_stop()
            keys = [token_key(row.input_ids) for row in group]
            if not writer.keys.issuperset(keys):
                with autocast(work.step.settings["precision"], model.device):
                    states_TD = forward.states_below(boundary, group)
                lengths = [row.num_tokens for row in group]
                writer.put(list(zip(keys, torch.split(states_TD, lengths), strict=True)))
            work.progress(done + 1, len(groups), f"lowest {depth} blocks", "batches")
    for name in FILES:
        shutil.move(work.partial / name, work.output / name)
    return ""


def _varies(forward: Forward, boundary: Boundary, rows: Sequence[Row]) -> bool:
    """Whether two calls in training give unlike states: dropout need not be a module (OPT's)."""
    model = forward.model
    drawn = []
    model.train()
    try:
        for seed in range(2):
            with global_stream(model.device, seed, "boundary"):
                drawn.append(forward.states_below(boundary, rows))
    finally:
        model.eval()
    one, two = drawn
    return bool((one - two).norm() > SAME * one.norm())
