"""What frozen blocks make of an evaluation's rows, kept from phase to phase: the same scores."""

import random

import pytest
import torch

from retain.decode.prefix_tree import Request
from retain.errors import Interrupted, TaskError
from retain.evaluate.below import Below, Recorder
from retain.evaluate.forward import NUM_CHECKED
from retain.evaluate.ledger import Ledger
from retain.evaluate.scorer import Scorer
from retain.model.boundary import Boundary
from retain.model.states_file import StatesWriter
from tests.conftest import make_model

DEPTH = 2


def model(seed=0):
    """Of four blocks; other seeds are later phases: they differ above the boundary alone."""
    found = make_model(num_hidden_layers=4)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in found.named_parameters():
            if seed and (".2." in name or ".3." in name or "norm" in name.split(".")[1]):
                p += 0.1 * torch.randn(p.shape, generator=draw)
    return found


def requests(num=12):
    draw = random.Random(3)
    shots = tuple(draw.randrange(3, 400) for _ in range(60))
    found = []
    for index in range(num):
        question = tuple(draw.randrange(3, 400) for _ in range(draw.randrange(4, 20)))
        found += [
            Request(
                (shots if index % 3 else ()) + question,
                tuple(draw.randrange(3, 400) for _ in range(length)),
                f"{index}/{length}",
            )
            for length in (1, 3, 5)
        ]
    return found


def record(folder, asked, budget, stop=lambda: False):
    folder.mkdir(exist_ok=True)
    base = model()
    scorer = Scorer(base, 512, budget_tokens=budget)
    scorer.recorder = Recorder(Boundary(base, DEPTH), StatesWriter(folder, 32, "fp32"))
    assert scorer.loglikelihoods(asked, Ledger(stop=stop))[0].loglikelihood == 0
    return folder


def computed(found, layer):
    """A list that grows by one with every call of a block's attention."""
    calls = []
    found.model.layers[layer].self_attn.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("budget", [64, 200, 2048])
def test_a_later_phase_is_scored_the_same_without_its_lowest_blocks(tmp_path, budget):
    asked = requests()
    folder = record(tmp_path / "kept", asked, budget)
    later = model(seed=7)
    plain = Scorer(model(seed=7), 512, budget_tokens=budget).loglikelihoods(asked)
    base = Scorer(model(), 512, budget_tokens=budget).loglikelihoods(asked)
    scorer = Scorer(later, 512, budget_tokens=budget)
    scorer.loglikelihoods(asked[:1])  # the trial of the path
    scorer.below = Below(later, DEPTH, folder)
    low, high = computed(later, 0), computed(later, 3)
    found = scorer.loglikelihoods(asked)

    assert (
        max(abs(a.loglikelihood - b.loglikelihood) for a, b in zip(found, plain, strict=True))
        < 1e-5
    )
    assert (
        max(abs(a.loglikelihood - b.loglikelihood) for a, b in zip(found, base, strict=True)) > 0.1
    )
    trial = 40  # calls of the trial, where this length was not tried yet; the rest reads
    assert len(low) <= min(len(high), trial)


@pytest.mark.parametrize("budget", [64, 2048])
def test_the_check_of_what_is_kept_costs_a_few_tokens(tmp_path, budget):
    asked = requests()
    folder = record(tmp_path / "kept", asked, budget)
    later = model(seed=7)
    scorer = Scorer(later, 512, budget_tokens=budget)
    scorer.loglikelihoods(asked)  # the trial of the path
    scorer.below = Below(later, DEPTH, folder)
    tokens = {0: 0, 3: 0}
    for layer in tokens:
        later.model.layers[layer].mlp.register_forward_hook(
            lambda _module, given, _made, layer=layer: tokens.__setitem__(
                layer, tokens[layer] + given[0].shape[:-1].numel()
            )
        )
    scorer.loglikelihoods(asked)
    assert 0 < tokens[0] <= NUM_CHECKED < tokens[3]


def test_other_requests_are_scored_plainly(tmp_path):
    folder = record(tmp_path / "kept", requests(), 256)
    later = model(seed=7)
    others = requests(13)
    scorer = Scorer(later, 512, budget_tokens=256, below=Below(later, DEPTH, folder))
    plain = Scorer(later, 512, budget_tokens=256).loglikelihoods(others)
    assert scorer.loglikelihoods(others) == plain


def test_states_of_another_model_are_refused(tmp_path):
    asked = requests()
    folder = record(tmp_path / "kept", asked, 256)
    other = make_model(seed=9, num_hidden_layers=4)
    scorer = Scorer(other, 512, budget_tokens=256, below=Below(other, DEPTH, folder))
    with pytest.raises(TaskError, match="not this model's"):
        scorer.loglikelihoods(asked)


def test_a_stopped_recording_goes_on_with_the_same_bytes(tmp_path):
    asked = requests()
    whole = record(tmp_path / "whole", asked, 64)
    stops = iter([False, False, True])
    with pytest.raises(Interrupted):
        record(tmp_path / "cut", asked, 64, stop=lambda: next(stops))
    cut = record(tmp_path / "cut", asked, 64)
    for name in ("states.bin", "index.jsonl"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()
