"""The learnt-against-forgotten plane: one panel for each kind of thing an arm can lose.

Unlike units never share an axis: phases taught earlier and each group have a panel per unit, and
all panels share the first axis, what was learnt of the newest phase.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retain.measure.statistics import UNKNOWN, Interval
from retain.report.choice import best_earlier, gain, new_task
from retain.report.results import Arm
from retain.report.scorebook import Floats, ScoreBook, figure, interval, mean_over_seeds
from retain.report.scores import TaskKey, stop_name
from retain.report.task_measures import learnt
from retain.report.text import metric_name, task_name


@dataclass(frozen=True, kw_only=True)
class Point:
    """One arm in one panel.

    Attributes:
        place: The arm's place in the recipe; decides its colour.
        learnt: Along the first axis.
        lost: Along the second; positive is loss, in the unit of the panel.
        seeds: (learnt, lost) of each seed, when there are several.
    """

    arm: Arm
    place: int
    learnt: float
    learnt_interval: Interval
    lost: float
    lost_interval: Interval
    seeds: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One plane.

    Attributes:
        title: What could be lost.
        subtitle: Metric, and against what.
        learnt_label: What the first axis counts.
        paths: For each arm with checkpoints inside the last phase these in order, and its end.
    """

    title: str
    subtitle: str
    learnt_label: str
    points: tuple[Point, ...]
    paths: tuple[tuple[Point, ...], ...] = ()

    @property
    def curves(self) -> list[tuple[Point, ...]]:
        """The points of each arm that a sweep ran with several values, in the sweep's order."""
        by_arm: dict[str, list[Point]] = {}
        for point in self.points:
            if point.arm.swept:
                by_arm.setdefault(point.arm.base_arm or point.arm.name, []).append(point)
        return [tuple(points) for points in by_arm.values() if len(points) > 1]


def panels(book: ScoreBook) -> list[Panel]:
    """All panels of one variant: earlier phases first, then groups; none without a newest task.

    Args:
        book: May hold checkpoints inside the last phase as arms (`stops`).
    """
    newest = new_task(book)
    if newest is None:
        return []
    last = book.num_phases
    taught = [key for key in book.phase_keys() if (book.taught_in(key) or last) < last]
    found = [_panel(book, "earlier phases", keys, newest) for keys in _by_unit(book, taught)]
    for group, members in book.group_keys().items():
        keys = [key for key in members if book.tasks[key].can_show_loss]
        found += [_panel(book, group, same, newest) for same in _by_unit(book, keys)]
    return [panel for panel in found if panel.points]


def _by_unit(book: ScoreBook, keys: Sequence[TaskKey]) -> list[list[TaskKey]]:
    units = dict.fromkeys(book.tasks[key].oriented_unit for key in keys)
    return [[key for key in keys if book.tasks[key].oriented_unit == unit] for unit in units]


def _panel(book: ScoreBook, group: str, keys: list[TaskKey], newest: TaskKey) -> Panel:
    is_taught = book.taught_in(keys[0]) is not None
    metric = metric_name(keys[0].metric)
    title = task_name(keys[0].task) if len(keys) == 1 else f"{group}, mean of {len(keys)} tasks"
    against = "the best earlier phase" if is_taught else "the base model"
    share = f"learnt of {task_name(newest.task)}, share of what {book.told_control} learnt"
    unit = f"learnt of {task_name(newest.task)}, {metric_name(newest.metric)}"
    arms = [one for one in book.placed if not one[1].part]
    points = [_point(book, arm, place, keys, newest) for place, arm in arms]
    points = [point for point in points if not np.isnan((point.learnt, point.lost)).any()]
    return Panel(
        title=title,
        subtitle=f"{metric} lost, against {against}",
        learnt_label=share if _is_share(book, newest) else unit,
        points=tuple(points),
        paths=tuple(filter(None, (_path(book, point, keys, newest) for point in points))),
    )


def _path(book: ScoreBook, end: Point, keys: list[TaskKey], newest: TaskKey) -> tuple[Point, ...]:
    """An arm's checkpoints inside the last phase, and its end; () where it has none."""
    stops = [arm for arm in book.arms if arm.part and arm.name == stop_name(end.arm.name, arm.part)]
    points = [_point(book, arm, end.place, keys, newest) for arm in stops]
    points = [point for point in points if not np.isnan((point.learnt, point.lost)).any()]
    return (*points, end) if points else ()


def _point(book: ScoreBook, arm: Arm, place: int, keys: list[TaskKey], newest: TaskKey) -> Point:
    learnt_by_seed = _learnt(book, arm.name, newest)
    lost_by_seed = [_lost(book, arm.name, seed, keys) for seed in book.seeds]
    learnt_N = mean_over_seeds(learnt_by_seed, "learnt")
    lost_N = mean_over_seeds(lost_by_seed, "lost")
    pairs = zip(learnt_by_seed, lost_by_seed, strict=True)
    is_fixed = arm.name == book.control_of(arm.name) and _is_share(book, newest)
    return Point(
        arm=arm,
        place=place,
        learnt=figure(learnt_N),
        learnt_interval=UNKNOWN if is_fixed else interval(learnt_N),
        lost=figure(lost_N),
        lost_interval=interval(lost_N),
        seeds=tuple((figure(x), figure(y)) for x, y in pairs) if len(book.seeds) > 1 else (),
    )


def _is_share(book: ScoreBook, newest: TaskKey) -> bool:
    """Whether the first axis can be a share of the control's gain; else it is the gain itself."""
    controls = {book.control_of(arm.name) for arm in book.arms}
    return not any(
        control is None or np.isnan(figure(learnt(book, control, seed, book.num_phases, newest)))
        for control in controls
        for seed in book.seeds
    )


def _learnt(book: ScoreBook, arm: str, newest: TaskKey) -> list[Floats]:
    if _is_share(book, newest):
        return [learnt(book, arm, seed, book.num_phases, newest) for seed in book.seeds]
    return [gain(book, arm, seed) for seed in book.seeds]


def _lost(book: ScoreBook, arm: str, seed: int, keys: list[TaskKey]) -> Floats:
    """Mean loss over tasks of one unit: against row 0, or the best earlier phase if taught."""
    is_taught = book.taught_in(keys[0]) is not None
    before_NT = best_earlier(book, arm, seed, keys) if is_taught else book.base(arm, seed, keys)
    now_NT = book.matrix(arm, seed, keys, book.num_phases)[:, -1]
    mean_N: Floats = (before_NT - now_NT).mean(axis=-1)
    return mean_N
