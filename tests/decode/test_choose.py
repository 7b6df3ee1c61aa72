"""Which token is drawn: the same as by sorting the whole vocabulary."""

import pytest
import torch

from retain.decode.choose import Sampling, uniform
from retain.decode.live import Writing

NUM_ROWS, VOCABULARY = 40, 3000


def by_sorting(logits_V, noise, temperature, top_p):
    """One row, plainly: sort, cut, add up."""
    scores, tokens = (logits_V.double() / temperature).sort(descending=True)
    probabilities = scores.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    probabilities[before >= top_p] = 0.0
    sums = probabilities.cumsum(-1)
    return int(tokens[int((sums <= noise * sums[-1]).sum())])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("top_p", [0.5, 0.95, 1.0])
def test_what_is_drawn_is_what_sorting_everything_draws(temperature, top_p):
    """At a temperature of 3 the likeliest thousand hold about half: the rest decides too."""
    draw = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(NUM_ROWS, VOCABULARY, generator=draw)
    writings = [Writing((1,), 9, lambda written: False, key=str(n)) for n in range(NUM_ROWS)]
    found = Sampling(temperature=temperature, top_p=top_p, seed=3)(logits, writings)
    assert found == [
        by_sorting(row, uniform(3, str(n), 0), temperature, top_p) for n, row in enumerate(logits)
    ]


def test_a_device_without_float64_draws_the_same():
    logits = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(1))

    class OfApple:
        """Stands for a tensor on an Apple device."""

        device = torch.device("mps")

        def cpu(self):
            return logits

        def double(self):
            raise TypeError("the MPS framework doesn't support float64")

    writings = [Writing((1,), 9, lambda written: False, key=str(n)) for n in range(3)]
    assert Sampling(1.0)(OfApple(), writings) == Sampling(1.0)(logits, writings)
