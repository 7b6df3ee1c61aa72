"""How far a model has moved from another, seen from inside: activations, and what it predicts.

Shapes: T tokens, the same for both models; D width; V vocabulary.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def linear_cka(before_TD: Floats, after_TD: Floats) -> float:
    """How alike two sets of activations are, up to rotation and overall size.

    With both centred over tokens: ``|A'B|^2 / (|A'A| |B'B|)``, Frobenius norms.

    Args:
        before_TD: Activations of one model.
        after_TD: Of the other at the same tokens; the width may be another.

    Returns:
        0..1; 1 where one is the other turned, shifted and scaled. Symmetric. NaN where one side
        does not vary at all. With few tokens beside the width it tends to be high: compare it
        between layers and checkpoints on the same texts, not between models.

    Raises:
        ValueError: If the tokens are not as many.

    Source: Kornblith, Norouzi, Lee and Hinton, "Similarity of Neural Network Representations
    Revisited", ICML 2019, https://arxiv.org/abs/1905.00414, equation 3. Departures: none.

    >>> linear_cka(np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]]), np.array([[0.0], [1], [2]]))
    0.7905694150420948
    """
    before, after = _centred(before_TD), _centred(after_TD)
    if len(before) != len(after):
        raise ValueError(f"{len(before)} tokens before, {len(after)} after: take the same texts")
    # T x T products where tokens are fewer than the width: the norms are the same
    own_TT, its_TT = before @ before.T, after @ after.T
    length = float(np.linalg.norm(own_TT)) * float(np.linalg.norm(its_TT))
    return float((own_TT * its_TT).sum()) / length if length else math.nan


def mean_cosine(before_TD: Floats, after_TD: Floats) -> float:
    """The cosine between the mean activations of two models on the same texts.

    ``<a, b> / (|a| |b|)`` with a and b the means over tokens.

    Args:
        before_TD: Activations of one model.
        after_TD: Of the other; the same width.

    Returns:
        -1..1, 1 where the means point the same way. Symmetric; not changed by size, but by any
        shift. A few large coordinates that every token shares often decide it, and keep it near 1.
        NaN where a mean is 0.

    Raises:
        ValueError: If the widths differ.

    Source: the activation similarity of Aggarwal et al., 2024, https://arxiv.org/abs/2410.16006,
    whose text was not at hand: "compare mean hidden activations layer by layer". Departure: the
    cosine is our reading of it.

    >>> mean_cosine(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0], [2.0, 4.0]])).__round__(4)
    0.7071
    """
    one_D, other_D = (np.asarray(one, np.float64).mean(axis=0) for one in (before_TD, after_TD))
    if one_D.shape != other_D.shape:
        raise ValueError(f"widths {len(one_D)} and {len(other_D)} differ")
    length = float(np.linalg.norm(one_D)) * float(np.linalg.norm(other_D))
    return float(one_D @ other_D) / length if length else math.nan


def covariance_drift(before_TD: Floats, after_TD: Floats) -> float:
    """How far the covariance of a layer's activations moved: ``|C' - C| / |C|``, Frobenius norms.

    Args:
        before_TD: Activations of the earlier model.
        after_TD: Of the later one; the same width.

    Returns:
        At least 0, a part of the earlier covariance's own size; 0 where nothing moved, or moved by
        a shift alone. Not symmetric. NaN where nothing varied before.

    Raises:
        ValueError: If the widths differ.

    Source: the covariance drift of Aggarwal et al., 2024, https://arxiv.org/abs/2410.16006.
    Departure: the division by |C|, which is our reading of it.

    >>> covariance_drift(np.array([[0.0], [2.0]]), np.array([[5.0], [8.0]]))
    1.25
    """
    before, after = _centred(before_TD), _centred(after_TD)
    if before.shape[1] != after.shape[1]:
        raise ValueError(f"widths {before.shape[1]} and {after.shape[1]} differ")
    # |C' - C|^2 = |C'|^2 + |C|^2 - 2 <C', C>, each by products of tokens: D x D may not fit
    before, after = before / math.sqrt(len(before)), after / math.sqrt(len(after))
    own = float(np.square(before @ before.T).sum())
    its = float(np.square(after @ after.T).sum())
    both = float(np.square(before @ after.T).sum())
    return math.sqrt(max(own + its - 2 * both, 0.0) / own) if own else math.nan


def divergence(before_TV: Floats, after_TV: Floats) -> Floats:
    """How much of one model's next-token distribution another has lost, token by token.

    ``KL(before || after) = sum over v of p(v) (log p(v) - log q(v))``.

    Args:
        before_TV: Log-probabilities of the earlier model (p), in nats; each row adds up to 1.
        after_TV: Of the later one (q), at the same places.

    Returns:
        Shape (T,), nats, at least 0; 0 where they predict alike. Not symmetric. Infinite where q
        rules out what p does not.

    Raises:
        ValueError: If the shapes differ.

    Source: Kullback and Leibler, "On Information and Sufficiency", 1951; as a predictor of
    forgetting in this direction and on the new task's prompts: Shenfeld, Pari and Agrawal, "RL's
    Razor", 2025, https://arxiv.org/abs/2509.04259.

    >>> divergence(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])).round(4)
    array([0.1438])
    """
    if before_TV.shape != after_TV.shape:
        raise ValueError(f"shapes {before_TV.shape} and {after_TV.shape} differ")
    before = np.asarray(before_TV, np.float64)
    p_TV = np.exp(before)
    apart = np.where(p_TV > 0, before, 0.0) - np.where(p_TV > 0, after_TV, 0.0)
    nats_T: Floats = (p_TV * apart).sum(axis=1)
    nats_T[nats_T < 0] = 0  # rounding may leave it just under
    return nats_T


def _centred(activations_TD: Floats) -> NDArray[np.float64]:
    activations = np.asarray(activations_TD, np.float64)
    centred: NDArray[np.float64] = activations - activations.mean(axis=0)
    return centred
