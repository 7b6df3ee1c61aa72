"""What is known of a task before any phase: its unit, its levels, what its scores can show."""

from dataclasses import dataclass

from retain.measure.bias import neutral_share
from retain.measure.statistics import MIN_CLUSTERS
from retain.report.scores import TaskKey


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """What is known of a task before any phase.

    Attributes:
        unit: Of the metric as it is; see `oriented_unit`.
        has_headroom: False when row 0 is not above chance and majority class at 95 %; True where
            there is no such level. Tasks without headroom stay out of means.
        num_sources: Source items that its items come from; 0 when the score came without items.
    """

    key: TaskKey
    unit: str
    higher_is_better: bool
    is_main: bool
    chance: float | None
    majority: float | None
    num_items: int
    has_headroom: bool
    num_sources: int

    @property
    def has_interval(self) -> bool:
        """Whether its scores have intervals: enough source items (`MIN_CLUSTERS`) behind them."""
        return self.num_sources >= MIN_CLUSTERS

    @property
    def no_interval(self) -> str:
        """Why its scores have no interval; empty when they have."""
        if self.has_interval:
            return ""
        if not self.num_sources:
            return "no items"
        sources = f"{self.num_sources} source item" + "s" * (self.num_sources > 1)
        return f"{sources}, fewer than {MIN_CLUSTERS}"

    @property
    def has_direction(self) -> bool:
        """Whether one end of the scale is better: not so of a share of stereotypes."""
        return neutral_share(self.key.metric) is None

    @property
    def can_show_loss(self) -> bool:
        """Whether a change is a gain or a loss at all; only such tasks enter means."""
        return self.has_headroom and self.has_direction

    @property
    def oriented_unit(self) -> str:
        """The unit, with a minus sign in front when the score is turned round."""
        return self.unit if self.higher_is_better else f"-{self.unit}"

    @property
    def level(self) -> float | None:
        """The better of chance and majority class, where either is known."""
        return max((x for x in (self.chance, self.majority) if x is not None), default=None)
