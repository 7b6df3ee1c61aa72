"""What probes found inside the models: lines of measures.csv, and what the page draws of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from markupsafe import Markup

from retain.measure.statistics import UNKNOWN, Interval
from retain.report.analysis import Analysis
from retain.report.facts import ProbeFacts
from retain.report.layer_plot import LayerLine, layer_plot
from retain.report.results import Arm, Results
from retain.report.scorebook import ScoreBook
from retain.report.tables import MeasureRow

TASK = "probe:"
"""What the column ``task`` of measures.csv starts with for a probe."""

OF_LAYERS = {
    "cka": ("linear_cka", "", "Alike up to rotation (linear CKA)"),
    "cosine": ("mean_cosine", "", "Cosine of mean activations"),
    "covariance": ("covariance_drift", "part of the base model's", "Covariance drift"),
    "weights": ("weight_change", "part of the base model's", "Weight change"),
}
"""Key in ``probe.json``: name and unit in measures.csv, and title of its drawing."""

DRAWN = ("cka", "covariance", "weights")

LEVEL = 0.05
"""Of a head's p value, corrected over heads."""


def probe_rows(results: Results) -> list[MeasureRow]:
    """Every figure of every probe, for measures.csv; the metric says the layer or language."""
    return [row for facts in results.probes for row in _ROWS[facts.probe](facts)]


def _drift_rows(facts: ProbeFacts) -> Iterator[MeasureRow]:
    content = facts.content
    told = content["divergence"]
    ends = _ends(told)
    yield _row(facts, "all layers", "divergence", told["nats_per_token"], "nats_per_token",
               (ends, told["num_examples"]))  # fmt: skip
    for key, (measure, unit, _) in OF_LAYERS.items():
        for layer, value in enumerate(content["layers"][key]):
            yield _row(facts, f"layer {layer}", measure, value, unit or "fraction",
                       (UNKNOWN, content["num_texts"]))  # fmt: skip


def _ends(told: Mapping[str, Any]) -> Interval:
    """Of a divergence; unknown for a few examples."""
    return UNKNOWN if told["low"] is None else Interval(told["low"], told["high"])


def beyond_chance(told: Mapping[str, Any]) -> tuple[int, int]:
    """How many heads of a map give a dependency more attention than its control, and how many less.

    Only those that do beyond chance, corrected over all heads.
    """
    heads = [
        found
        for rows in zip(told["dependency"], told["control"], told["p"], strict=True)
        for found in zip(*rows, strict=True)
        if None not in found and found[2] <= LEVEL
    ]
    num_more = sum(dependency > control for dependency, control, _ in heads)
    return num_more, len(heads) - num_more


def _attention_rows(facts: ProbeFacts) -> Iterator[MeasureRow]:
    for language, told in facts.content["maps"].items():
        num_more, num_less = beyond_chance(told)
        for measure, value in (
            ("heads_beyond_chance", told["num_heads"]),
            ("heads_with_more_attention", num_more),
            ("heads_with_less_attention", num_less),
            ("heads_beyond_chance_shuffled", told["shuffled"]["num_heads"]),
        ):
            yield _row(facts, language, measure, float(value), "heads",
                       (UNKNOWN, told["num_sentences"]))  # fmt: skip


_ROWS = {"attention": _attention_rows, "drift": _drift_rows}


def _row(
    facts: ProbeFacts,
    metric: str,
    measure: str,
    value: float | None,
    unit: str,
    sure: tuple[Interval, int],
) -> MeasureRow:
    where = facts.checkpoint
    ends, num_items = sure
    return MeasureRow(
        variant=where.variant,
        arm=where.arm,
        seed=where.seed,
        phase_index=where.phase_index,
        phase=facts.phase,
        group="",
        task=TASK + facts.probe,
        metric=metric,
        num_fewshot=0,
        measure=measure,
        value=nan if value is None else value,
        unit=unit,
        ci_low=ends.low,
        ci_high=ends.high,
        num_items=num_items,
        num_seeds=1,
        versus="base" if where.phase_index else "",
    )


# ---------------------------------------------------------------- drift on the page


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How far one arm's predictions are from the base model's after a phase.

    Attributes:
        value: Mean nats per token.
        sure: Its interval over examples.
    """

    arm: Arm
    place: int
    value: float
    sure: Interval
    num_examples: int
    num_tokens: int


@dataclass(frozen=True, kw_only=True)
class DriftPart:
    """Drift after one phase.

    Attributes:
        drawings: Title, drawing, and the figures behind it: an arm, its place and its figures.
    """

    phase: str
    drawings: Sequence[tuple[str, Markup, Sequence[tuple[Arm, int, Sequence[float | None]]]]]
    divergences: Sequence[Divergence]


def drift_parts(analysis: Analysis, book: ScoreBook, identity: str) -> list[DriftPart]:
    """Drift after each phase, all arms in one drawing; of several seeds the first is told.

    Args:
        analysis: The run.
        book: Of one variant.
        identity: Unique on the page, for accessible names.
    """
    parts = []
    for index, phase in enumerate(book.variant.phases, start=1):
        found = [
            facts
            for facts in of_probe(analysis.results, book, "drift")
            if facts.checkpoint.phase_index == index
        ]
        if found:
            parts.append(_drift_part(found, book, phase, f"{identity}-{index}"))
    return parts


def of_probe(results: Results, book: ScoreBook, probe: str) -> list[ProbeFacts]:
    """What a probe found in the models of one variant and of its first seed."""
    where = (book.variant.name, book.seeds[0])
    return [
        facts
        for facts in results.probes
        if facts.probe == probe and (facts.checkpoint.variant, facts.checkpoint.seed) == where
    ]


def _drift_part(
    found: Sequence[ProbeFacts], book: ScoreBook, phase: str, identity: str
) -> DriftPart:
    placed = {arm.name: (place, arm) for place, arm in book.placed}
    drawings = []
    for key in DRAWN:
        title = OF_LAYERS[key][2]
        figures = [
            (arm, place, _layers(facts.content, key))
            for facts in found
            for place, arm in (placed[facts.checkpoint.arm],)
        ]
        lines = [LayerLine(arm.name, place, values) for arm, place, values in figures]
        drawings.append((title, layer_plot(lines, f"{title}, {phase}", f"{identity}-{key}"),
                         figures))  # fmt: skip
    return DriftPart(
        phase=phase,
        drawings=drawings,
        divergences=[_divergence(facts, *placed[facts.checkpoint.arm]) for facts in found],
    )


def _layers(content: Mapping[str, Any], key: str) -> Sequence[float | None]:
    values: Sequence[float | None] = content["layers"][key]
    return values


def _divergence(facts: ProbeFacts, place: int, arm: Arm) -> Divergence:
    told = facts.content["divergence"]
    return Divergence(
        arm=arm,
        place=place,
        value=told["nats_per_token"],
        sure=_ends(told),
        num_examples=told["num_examples"],
        num_tokens=told["num_tokens"],
    )
