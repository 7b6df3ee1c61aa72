"""A phase of training in miniature: a model, a stream, a piece of work."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from retain.steps.step import Step
from retain.steps.work import Work
from retain.train.hooks import Hooks
from retain.train.loop import Point, train_phase
from retain.train.optimizer import choose
from retain.train.plan import Plan
from retain.train.settings import Settings
from retain.train.stream import Row, Stream

SETTINGS = Settings(
    learning_rate=1e-2, lr_scheduler_type="cosine", warmup_steps=2, precision="fp32"
)


def make_row(name: str, length: int, *, trained: int | None = None, weight: float = 1.0, seed=0):
    """A sequence of random tokens whose last ``trained`` ones count; all but the first for None."""
    draw = np.random.default_rng([seed, *name.encode()])
    counts = length - 1 if trained is None else trained
    mask = np.arange(length) >= length - counts
    return Row(name, "new", draw.integers(3, 400, length), mask, weight)


def make_stream(num_steps=6, lengths=(5, 19, 11, 30), epochs=1) -> Stream:
    """Steps of four uneven sequences with uneven trained tokens; later epochs turn them."""
    rows = [
        tuple(
            make_row(f"e{s}-{i}", n, trained=1 + (s + i) % (n - 1), weight=1.0 + i)
            for i, n in enumerate(lengths)
        )
        for s in range(num_steps)
    ]
    return Stream(tuple(step[::-1] if e % 2 else step for e in range(epochs) for step in rows))


def make_work(folder: Path, *, stop=lambda: False, **settings) -> Work:
    """A piece of work outside any store; ``events`` collects what it says."""
    folder.mkdir(parents=True, exist_ok=True)
    work = Work(
        step=Step(kind="train", name="phase", version=1, settings=settings),
        output=folder / "output",
        partial=folder / "partial",
        store=SimpleNamespace(path=lambda step: folder / step.folder),
        stop=stop,
    )
    work.events = []
    work.on_event = lambda kind, **fields: work.events.append({"kind": kind, **fields})
    work.output.mkdir(exist_ok=True)
    work.partial.mkdir(exist_ok=True)
    return work


def train(
    model,
    stream: Stream,
    work: Work,
    *,
    settings: Settings = SETTINGS,
    hooks: Hooks | None = None,
    names: Sequence[str] | None = None,
    tokens: int = 40,
) -> list[Point]:
    """Train in place with small micro-batches."""
    choose(model, names)
    plan = Plan(tokens, torch.get_num_threads())
    return train_phase(model, stream, settings, hooks or Hooks(), plan, work)


def weights(model) -> dict[str, torch.Tensor]:
    """A copy of all parameters."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are equal to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
