"""Every consumer of randomness has its own stream, named and seeded; none is shared or kept.

A stream's seed follows from the run's seed and the consumer's name (and step), so a resumed run
needs no stored state, and the global generator is left as it was found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from random import Random

import torch


def derived_seed(seed: int, *names: str | int) -> int:
    """A seed of 63 bits for the consumer of that name.

    >>> derived_seed(0, "dropout", 3) == derived_seed(0, "dropout", 3)
    True
    >>> derived_seed(0, "dropout", 3) == derived_seed(0, "dropout", 4)
    False
    """
    digest = sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> Random:
    """Python's generator for the consumer of that name."""
    return Random(derived_seed(seed, *names))


@contextmanager
def global_stream(device: torch.device, seed: int, *names: str | int) -> Iterator[None]:
    """Inside, torch's global generators are the named stream; after, they are as before."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(derived_seed(seed, *names))
        yield
