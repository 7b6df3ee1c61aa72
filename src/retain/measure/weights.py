"""What weights alone say: how far they moved and lie apart, and how much of a matrix is signal.

torch is imported inside, so that a recipe is read without it.
"""

from collections.abc import Mapping
from math import nan, sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

NORMAL_QUARTILES = 1.349
"""Between the quartiles of a normal distribution with standard deviation 1."""


class Distance(NamedTuple):
    """How far apart two models lie that started from the same weights.

    Attributes:
        length: Euclidean norm of the difference of all weights, at least 0.
        relative: The same as a part of the norm of the weights that both started from.
        moved: How far each moved from there, as such a part.
        cosine: Of the two ways they moved, -1 to 1: 1 where both sets pull the model alike, 0 where
            they have nothing to do with each other; NaN where one did not move.
    """

    length: float
    relative: float
    moved: tuple[float, float]
    cosine: float


def weight_distance(
    left: "Mapping[str, torch.Tensor]",
    right: "Mapping[str, torch.Tensor]",
    start: "Mapping[str, torch.Tensor]",
) -> Distance:
    """MPD, the model parameter difference: ``|left - right|`` over all weights.

    Args:
        left: Weights by name after a tuning on one data set; each is asked for once.
        right: After the same tuning on another.
        start: The weights that both started from.

    Returns:
        Symmetric but for the order of ``moved``. Lengths grow with rate and steps: compare
        distances of one model after as many steps alone.

    Raises:
        ValueError: If the three differ in names or shapes.

    Source: Aggarwal et al., "Exploring Continual Fine-Tuning for Enhancing Language Ability in
    Large Language Model", 2024, https://arxiv.org/abs/2410.16006, where data sets that are alike
    are 0.29 apart and unlike ones 1.00, so evidently over the largest of the pairs. Departures: the
    length itself and the relative one; how far each moved; the cosine.

    >>> import torch
    >>> found = weight_distance(*({"w": torch.tensor(w)} for w in ([3.0, 5.0], [3.0, 4], [0.0, 4])))
    >>> found.length, found.relative, found.moved, round(found.cosine, 3)
    (1.0, 0.25, (0.7905694150420949, 0.75), 0.949)
    """
    import torch

    if not set(left) == set(right) == set(start):
        unlike = sorted(set(left) ^ set(start) | set(right) ^ set(start))
        raise ValueError(f"models with unlike weights: {', '.join(unlike[:3])}")
    sums = torch.zeros(5, dtype=torch.float64)
    for name in start:
        begun = start[name].double()
        one, other = left[name].double(), right[name].double()
        if not one.shape == other.shape == begun.shape:
            raise ValueError(f"{name}: shapes {one.shape}, {other.shape}, {begun.shape}")
        pulls = (one - begun, other - begun)
        apart = one - other
        sums += torch.stack(
            [
                (apart * apart).sum(),
                (begun * begun).sum(),
                (pulls[0] * pulls[0]).sum(),
                (pulls[1] * pulls[1]).sum(),
                (pulls[0] * pulls[1]).sum(),
            ]
        ).cpu()
    apart_2, start_2, left_2, right_2, both = sums.tolist()
    length = sqrt(start_2)
    return Distance(
        length=sqrt(apart_2),
        relative=sqrt(apart_2) / length if length else nan,
        moved=(sqrt(left_2) / length, sqrt(right_2) / length) if length else (nan, nan),
        cosine=both / sqrt(left_2 * right_2) if left_2 and right_2 else nan,
    )


def relative_change(after: "torch.Tensor", before: "torch.Tensor") -> float:
    """How far a parameter moved, as a part of its own length: ``|after - before| / |before|``.

    Args:
        after: Any shape.
        before: Of the same shape.

    Returns:
        Euclidean (Frobenius) norms, at least 0. What was all zeros has no length of its own and
        gives 0.

    Source: form inferred, after the layers that changed most of Aggarwal et al., 2024 (see
    `weight_distance`).

    >>> import torch
    >>> relative_change(torch.tensor([3.0, 3.0]), torch.tensor([3.0, 4.0]))
    0.2
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

    >>> import torch
    >>> round(signal_to_noise(torch.diag(torch.tensor([10.0, 2.0, 1.0, 1.0]))), 3)
    0.25
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
