"""Phases of training in miniature, through the real loop, with methods acting in them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from retain.methods.base import Method, overrides
from retain.methods.given import Memory, Tokenised
from retain.steps.step import Step
from retain.steps.work import Work
from retain.train.hooks import Hooks
from retain.train.loop import train_phase
from retain.train.plan import Plan
from retain.train.randomness import global_stream
from retain.train.settings import Settings
from retain.train.stream import Row, Stream

SETTINGS = Settings(learning_rate=3e-3, lr_scheduler_type="constant", precision="fp32")


def make_stream(seed: int, num_steps: int = 12) -> Stream:
    """The same eight random sequences over and over: something to learn by heart."""
    draw = np.random.default_rng(seed)
    rows = [
        Row(f"{seed}-{i}", "new", draw.integers(3, 400, 16), np.arange(16) > 0, 1.0)
        for i in range(8)
    ]
    return Stream(tuple(tuple(rows[4 * (s % 2) :][:4]) for s in range(num_steps)))


def tokenised(stream: Stream) -> list[Tokenised]:
    rows = {row.example_id: row for rows in stream.steps for row in rows}
    return [
        Tokenised(
            id=name,
            input_ids=tuple(map(int, row.input_ids)),
            trained=tuple(map(bool, row.trained)),
        )
        for name, row in rows.items()
    ]


def learn(model, stream: Stream, folder: Path, *methods: Method, memory: Memory | None = None):
    """One phase through the loop; the model is trained in place and returned."""
    for name in ("output", "partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    work = Work(
        step=Step(kind="train", name="phase", version=1, settings={}),
        output=folder / "output",
        partial=folder / "partial",
        store=SimpleNamespace(path=lambda step: folder / step.folder),
    )
    memories = {one.name: (memory,) for one in methods if memory is not None}
    hooks = Hooks(methods=methods, memories=memories, phase="second")
    with global_stream(torch.device("cpu"), 0, "prepare"):  # as the train step does
        model = hooks.prepare(model)
    if not any(overrides(one, "prepare") for one in methods):
        model.requires_grad_(True)
    train_phase(model, stream, SETTINGS, hooks, Plan(64, torch.get_num_threads()), work)
    return model


@torch.no_grad()
def loss(model, stream: Stream) -> float:
    losses = []
    for one in tokenised(stream):
        tokens = torch.tensor([one.input_ids])
        logits = model(input_ids=tokens, use_cache=False).logits[0]
        losses.append(cross_entropy(logits[:-1], tokens[0, 1:]))
    return float(torch.stack(losses).mean())


def weights(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return sum(float(((one[name] - other[name]) ** 2).sum()) for name in one) ** 0.5


OLD, NEW = make_stream(1), make_stream(2)
