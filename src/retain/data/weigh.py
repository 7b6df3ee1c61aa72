"""What each trained token of a mix weighs in the loss, before division by its step's total.

``by_token``
    1 for every trained token.
``by_example``
    Within the source every example weighs alike; the source weighs as under ``by_token``.
``match_share``
    Within the source every trained token weighs alike; the source weighs its share, or less where a
    token would weigh more than ``max_token_weight`` times a new one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retain.data.draw import Pick
from retain.errors import DataError

LOSS_WEIGHTS = ("by_token", "by_example", "match_share")


@dataclass(frozen=True)
class Stake:
    """How a source is to be weighed.

    Attributes:
        name: Of the source.
        loss_weight: One of :data:`LOSS_WEIGHTS`.
        share: What ``match_share`` matches.
        of_new: The share is one of the new data's loss weight, not of the whole mix's.
        is_new: The source belongs to the new data.
        max_token_weight: The most that ``match_share`` lets a trained token of old data weigh, in
            times the mean of a new one; None sets no bound.
    """

    name: str
    loss_weight: str
    share: float | None
    of_new: bool
    is_new: bool
    max_token_weight: float | None = None


def weights(picks: Sequence[Pick], stakes: Sequence[Stake]) -> list[float]:
    """The weight of each trained token of each pick.

    Raises:
        DataError: If a ``loss_weight`` is unknown, or ``match_share`` has no share to match.
    """
    trained: dict[str, int] = {stake.name: 0 for stake in stakes}
    num: dict[str, int] = dict(trained)
    for pick in picks:
        trained[pick.source] += pick.sequence.num_trained
        num[pick.source] += 1
    there = [stake for stake in stakes if num[stake.name]]
    factor = _factors(there, trained)
    by_example = {stake.name for stake in there if stake.loss_weight == "by_example"}
    result = []
    for pick in picks:
        name = pick.source
        weight = factor[name]
        if name in by_example:
            weight *= trained[name] / num[name] / pick.sequence.num_trained
        result.append(weight)
    return result


def _factors(stakes: Sequence[Stake], trained: Mapping[str, int]) -> dict[str, float]:
    """What one trained token of each source weighs on average."""
    for stake in stakes:
        if stake.loss_weight not in LOSS_WEIGHTS:
            known = ", ".join(LOSS_WEIGHTS)
            raise DataError(f"{stake.name}: unknown loss_weight {stake.loss_weight!r}: {known}")
        if stake.loss_weight == "match_share" and stake.share is None:
            raise DataError(f"{stake.name}: loss_weight match_share needs a share to match")
    total = {s.name: float(trained[s.name]) for s in stakes if s.loss_weight != "match_share"}
    matching = [stake for stake in stakes if stake.loss_weight == "match_share"]
    _match(total, [stake for stake in matching if stake.is_new], trained)
    new = sum(total.get(stake.name, 0.0) for stake in stakes if stake.is_new)
    for stake in matching:
        if stake.of_new and not stake.is_new:
            total[stake.name] = (stake.share or 0) * new
    _match(total, [s for s in matching if not s.of_new and not s.is_new], trained)
    num_new = sum(trained[stake.name] for stake in stakes if stake.is_new)
    for stake in matching:
        if stake.max_token_weight is not None and not stake.is_new and num_new:
            most = stake.max_token_weight * new / num_new * trained[stake.name]
            total[stake.name] = min(total[stake.name], most)
    return {name: weight / trained[name] for name, weight in total.items()}


def _match(total: dict[str, float], matching: Sequence[Stake], trained: Mapping[str, int]) -> None:
    """Give each source its share of the sum of all that is in ``total`` and the sources given."""
    share = sum(stake.share or 0 for stake in matching)
    rest = sum(total.values())
    if rest == 0:
        whole = sum(trained[stake.name] for stake in matching) / (share or 1)
    else:
        whole = rest / (1 - share)
    for stake in matching:
        total[stake.name] = (stake.share or 0) * whole
