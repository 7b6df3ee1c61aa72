"""Shares of a mix: what several methods say of them alike."""

from collections.abc import Sequence
from typing import Any

from retain.methods.given import LossWeight, MixSource, ShareBase

OF_MIX = (
    *("share", "share_of", "share_base", "loss_weight", "max_token_weight"),
    *("allow_fewer", "corpora"),
)
"""Keys that say what the mix does with a corpus: they leave no trace in the step that writes it."""


def share_faults(share: float, share_base: ShareBase) -> list[tuple[str, str]]:
    """What is wrong with a share: of the final mix it lies between 0 and 1, of new data above 0.

    >>> share_faults(5, "final_mix")[0][1]
    'must be above 0 and below 1; got 5 (a percentage is written as a fraction: 5 % is 0.05)'
    """
    if share_base == "final_mix" and not 0 < share < 1:
        advice = " (a percentage is written as a fraction: 5 % is 0.05)" * (share >= 1)
        return [("share", f"must be above 0 and below 1; got {share:g}{advice}")]
    if not 0 < share < float("inf"):
        return [("share", f"must be above 0; got {share:g}")]
    return []


def weight_faults(loss_weight: LossWeight, most: float | None) -> list[tuple[str, str]]:
    """What is wrong with a bound on what an old token weighs: it bounds ``match_share`` alone.

    >>> weight_faults("by_token", 10.0)[0][1]
    'bounds loss_weight: match_share; here loss_weight is by_token'
    """
    if most is None:
        return []
    if loss_weight != "match_share":
        text = f"bounds loss_weight: match_share; here loss_weight is {loss_weight}"
        return [("max_token_weight", text)]
    if not 0 < most < float("inf"):
        return [("max_token_weight", f"must be above 0; got {most:g}")]
    return []


def of_corpora(method: Any, rehearsed: Sequence[str]) -> tuple[MixSource, ...]:
    """The sources of a method with the keys of ``OF_MIX``: its last corpus, or all of them alike.

    Args:
        method: ``corpora`` is ``replace`` (the last) or ``accumulate`` (all).
        rehearsed: As in ``sources``.
    """
    roles = rehearsed if method.corpora == "accumulate" else rehearsed[-1:]
    return tuple(
        MixSource(
            role=role,
            share=method.share / len(roles),
            share_of=method.share_of,
            share_base=method.share_base,
            loss_weight=method.loss_weight,
            allow_fewer=method.allow_fewer,
            max_token_weight=method.max_token_weight,
        )
        for role in roles
    )
