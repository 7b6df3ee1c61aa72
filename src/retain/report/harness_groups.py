"""Scores of lm-eval's groups in a run, by the metrics and weights that their files name."""

from collections.abc import Iterator, Sequence

from retain.recipe import OwnTest, Recipe, called
from retain.report.scores import Checkpoint, ScoreRow


def harness_groups(recipe: Recipe, scores: Sequence[ScoreRow]) -> Iterator[ScoreRow]:
    """A row per checkpoint, group of lm-eval, metric and number of shots, of ``report`` items.

    The recipe's own groups have none: their tasks may have unlike units.

    Args:
        recipe: Names the groups among its tasks.
        scores: Of the tasks.
    """
    from retain.evaluate.catalog import groups_of
    from retain.evaluate.group_scores import group_scores

    folder = recipe.evaluate.include_path
    own = recipe.evaluate.groups
    named = [
        called(task)
        for task in recipe.evaluate.tasks
        if not isinstance(task, OwnTest) and not called(task).startswith("phase:")
    ]
    include = () if folder is None else (folder,)
    groups = groups_of(named, groups=own, include_path=include)
    at: dict[Checkpoint, list[ScoreRow]] = {}
    for row in scores if groups else ():
        at.setdefault(row.checkpoint, []).append(row)
    for place, rows in at.items():
        units = {row.metric: row.unit for row in rows}
        for found in group_scores(groups, [vars(row) for row in rows], role="report"):
            kept = {key: value for key, value in found.items() if key != "tasks"}
            unit = units[found["metric"]]
            yield ScoreRow(**place._asdict(), phase=rows[0].phase, unit=unit, **kept)
