"""Toy methods through the real training loop: each hook acts, and acts as its paper says."""

import inspect
from random import Random

import pytest
import torch

from retain.methods.given import History, Memory
from retain.train.finish_step import replace_weights
from tests.conftest import make_model
from tests.methods import toys
from tests.methods.learning import NEW, OLD, distance, learn, loss, tokenised, weights

TOYS = [toys.Ewc, toys.Lwf, toys.Agem, toys.OLora, toys.Ties, toys.PullBack]


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
