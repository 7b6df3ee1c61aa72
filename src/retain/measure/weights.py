"""What weights alone say of a layer: how far they moved, and how much of a matrix is signal.

torch is imported inside, so that a recipe is read without it.
"""

from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NORMAL_QUARTILES = 1.349
"""Between the quartiles of a normal distribution with standard deviation 1."""


def relative_change(after: "torch.Tensor", before: "torch.Tensor") -> float:
    """How far a parameter moved, as a part of its own length: ``|after - before| / |before|``.

    Args:
        after: Any shape.
        before: Of the same shape.

    Returns:
        Euclidean (Frobenius) norms, at least 0. What was all zeros has no length of its own and
        gives 0.
    """
    length = float(before.float().norm())
    return float((after.float() - before.float()).norm()) / length if length else 0.0


def signal_to_noise(weight: "torch.Tensor") -> float:
    """How far the singular values of a matrix stand out from those of noise.

    With S its singular values, ``sigma = (their upper - lower quartile) / 1.349``, and the
    Marchenko-Pastur edge ``sigma (1 + sqrt(short side / long side))``: the sum of those above the
    edge over the sum of the others, over the largest. Where none lies below the edge, the noise
    counts as 1.

    Args:
        weight: A matrix; of a stack of matrices (experts) the mean is taken.

    Returns:
        At least 0, comparable among matrices of one shape only. 0 for a matrix of zeros.

    Source: Hartford, Atkins, Fernandes Neto, Golchinfar, "Spectrum: Targeted Training on Signal to
    Noise Ratio", 2024, https://arxiv.org/abs/2406.06623, as its published program computes it: the
    spread is that of the singular values, not of the entries, and the noise is 1 where there is
    none. Departure: zeros give 0, where the program divides by 0.
    """
    import torch

    if weight.ndim > 2:
        stack = weight.flatten(0, -3)
        return sum(signal_to_noise(one) for one in stack) / len(stack)
    values = torch.linalg.svdvals(weight.float())
    largest = float(values[0])
    if largest == 0:
        return 0.0
    quartiles = torch.quantile(values, values.new_tensor([0.25, 0.75]))
    sigma = float(quartiles[1] - quartiles[0]) / NORMAL_QUARTILES
    edge = sigma * (1 + sqrt(min(weight.shape) / max(weight.shape)))
    is_signal = values > edge
    noise = 1.0 if bool(is_signal.all()) else float(values[~is_signal].sum())
    return float(values[is_signal].sum()) / noise / largest
