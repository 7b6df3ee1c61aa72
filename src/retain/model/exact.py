"""Comparing two ways to call a model: to the last digits, also where weights have 4 bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def multiplied_in_float32(model: Any) -> Iterator[None]:
    """Inside, weights of 4 bits are multiplied in float32, whatever precision they were opened for.

    bitsandbytes rounds what goes through such a layer to the layer's precision. In bfloat16 that
    makes rows of another length differ by 0.05 of a log-probability, more than what a wrong mask
    may do; so whoever tries whether two ways agree must try without it.
    """
    layers = [
        module
        for module in model.modules()
        if hasattr(module, "quant_state") and hasattr(module, "compute_dtype")
    ]
    before = [layer.compute_dtype for layer in layers]
    for layer in layers:
        layer.compute_dtype = torch.float32
    try:
        yield
    finally:
        for layer, dtype in zip(layers, before, strict=True):
            layer.compute_dtype = dtype
