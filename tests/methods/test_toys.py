"""Toy methods through the real training loop: each hook acts, and acts as its paper says."""

import inspect
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toys
from torch.nn.functional import cross_entropy

from conftest import make_model
from retain.methods.base import History, Memory, Method, Tokenised, overrides
from retain.steps.step import Step
from retain.steps.work import Work
from retain.train.finish_step import replace_weights
from retain.train.hooks import Hooks
from retain.train.loop import train_phase
from retain.train.plan import Plan
from retain.train.randomness import global_stream
from retain.train.settings import Settings
from retain.train.stream import Row, Stream

SETTINGS = Settings(learning_rate=3e-3, lr_scheduler_type="constant", precision="fp32")
TOYS = [toys.Ewc, toys.Lwf, toys.Agem, toys.OLora, toys.Ties, toys.PullBack]


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


@pytest.fixture
def learnt(tmp_path):
    """A model that has learnt the first phase."""
    return learn(make_model(), OLD, tmp_path / "first")


@pytest.fixture
def copy_of(learnt):
    """Makes models like it."""

    def make():
        model = make_model()
        model.load_state_dict(learnt.state_dict())
        return model

    return make


@pytest.fixture
def plain(copy_of, tmp_path):
    """The second phase without any method."""
    return learn(copy_of(), NEW, tmp_path / "plain")


@pytest.mark.parametrize("toy", TOYS)
def test_a_toy_fits_in_thirty_lines(toy):
    code = [line for line in inspect.getsource(toy).splitlines() if line.strip()]
    assert len(code) <= 30


@pytest.mark.parametrize("toy", TOYS)
def test_a_toy_describes_itself(toy):
    assert toy().spec()["method"] == toy.name
    assert "phases" not in toy().spec()


def test_plain_training_forgets_so_that_there_is_something_to_keep(learnt, plain):
    assert loss(plain, NEW) < loss(learnt, NEW)
    assert loss(plain, OLD) > loss(learnt, OLD) + 0.05


@pytest.mark.parametrize(
    "method",
    [
        toys.Ewc(strength=1e4),
        toys.Lwf(strength=20.0),
        toys.Agem(),
        toys.PullBack(part=0.2),
    ],
    ids=lambda method: method.name,
)
def test_a_toy_keeps_more_of_the_first_phase_than_plain_training(
    method, learnt, copy_of, plain, tmp_path
):
    kept = method.remember(learnt, tokenised(OLD), Random(0))
    model = learn(copy_of(), NEW, tmp_path / "with", method, memory=kept)

    assert loss(model, OLD) < loss(plain, OLD) - 0.01
    assert distance(weights(model), weights(learnt)) > 0


def test_ewc_leaves_no_trace_without_strength(learnt, copy_of, plain, tmp_path):
    method = toys.Ewc(strength=0.0)
    kept = method.remember(learnt, tokenised(OLD), Random(0))
    model = learn(copy_of(), NEW, tmp_path / "with", method, memory=kept)
    assert distance(weights(model), weights(plain)) == 0


def test_agem_projects_only_what_would_raise_the_old_loss():
    past = [{"w": torch.tensor([1.0, 0.0])}]
    against = toys.Agem().project({"w": torch.tensor([-2.0, 3.0])}, past)
    assert against["w"].tolist() == [0.0, 3.0]
    assert toys.Agem().project({"w": torch.tensor([2.0, 3.0])}, past) is None


def test_olora_turns_the_new_adapter_away_from_the_old_one(copy_of, tmp_path):
    free, bound = toys.OLora(strength=0.0), toys.OLora(strength=1.0)
    old = learn(copy_of(), OLD, tmp_path / "old", free)
    kept = free.remember(old, (), Random(0))

    def overlap(model):
        return float(bound.penalty(model, None, torch.zeros(1), None, (kept,)).detach())

    without = overlap(learn(copy_of(), NEW, tmp_path / "free", free, memory=kept))
    assert overlap(learn(copy_of(), NEW, tmp_path / "bound", bound, memory=kept)) < 0.8 * without


def test_olora_moves_only_its_adapter(learnt, copy_of, tmp_path):
    model = learn(copy_of(), NEW, tmp_path / "adapter", toys.OLora(), memory=Memory())
    after = {name.replace(".base_layer", ""): p for name, p in model.named_parameters()}
    assert all(torch.equal(after[name], p) for name, p in learnt.named_parameters())


def test_ties_adds_the_changes_that_agree():
    base = {"w": torch.zeros(4)}
    one = {"w": torch.tensor([1.0, -2.0, 0.1, 4.0])}
    two = {"w": torch.tensor([3.0, 1.0, 0.2, -1.0])}
    history = History(base=base, checkpoints={"a": one, "b": two})

    [(name, merged)] = toys.Ties(density=0.75).finish(history)
    assert name == "w"
    assert merged.tolist() == [2.0, -2.0, 0.0, 4.0]


def test_ties_goes_through_the_finish_step(learnt, plain, copy_of):
    base = weights(make_model())
    history = History(base=base, checkpoints={"a": weights(learnt), "b": weights(plain)})
    merged = copy_of()
    changed = replace_weights(toys.Ties(), dict(merged.named_parameters()), history)

    assert changed == len(base)
    assert loss(merged, OLD) < loss(plain, OLD)
