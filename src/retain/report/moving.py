"""What a method let move, layer by layer: read from its step, and drawn as inline SVG."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from retain.report.analysis import Analysis
from retain.report.axes import WIDTH, colour_class, drawing
from retain.report.facts import Moving
from retain.report.results import Arm
from retain.report.scorebook import ScoreBook
from retain.report.svg import Scale, element, group
from retain.report.text import number, visible

_LEFT, _RIGHT, _ROW, _BARS, _FLOOR = 92, 8, 16, 54, 24
_NAME = re.compile(r"\.(\d+)\.(.+?)(?:\.weight)?$")
Values = tuple[float | None, ...]
Rows = tuple[tuple[str, Values], ...]


def moving_of(content: Mapping[str, Any]) -> Moving:
    """The facts of a ``trainable.json``.

    Where single matrices were ranked, they are the parts; else the parts are kinds of parameters.
    """
    moves, numbers = content["moves"], content["numbers"]
    by_matrix = numbers.get("matrix_scores") or {}
    by_layer = numbers.get("layer_scores") or ()
    blocks = moves["blocks"]
    if by_matrix:
        names = set(content["names"])
        scores = _by_matrix(by_matrix, len(blocks))
        parts = _by_matrix({name: float(name in names) for name in by_matrix}, len(blocks))
    else:
        scores = (("layer", tuple(by_layer)),) if by_layer else ()
        kinds = blocks[0] if blocks else {}
        parts = tuple((kind, tuple(block[kind] for block in blocks)) for kind in kinds)
        parts = tuple((kind, row) for kind, row in parts if any(one is not None for one in row))
    outside = (("embeddings", "embeddings"), ("final_norm", "final norm"), ("head", "head"))
    return Moving(
        selected=str(numbers.get("select", "")),
        scored_by=str(numbers.get("scored_by") or ""),
        parts=parts,
        scores=scores,
        outside=tuple((word, moves[key]) for key, word in outside if moves[key] is not None),
    )


def _by_matrix(by_name: Mapping[str, float], num_layers: int) -> Rows:
    """Values of parameters by the last word of their name, and by layer."""
    rows: dict[str, list[float | None]] = {}
    for name, value in by_name.items():
        if found := _NAME.search(name):
            matrix = found[2].rpartition(".")[2]
            rows.setdefault(matrix, [None] * num_layers)[int(found[1])] = value
    return tuple((matrix, tuple(values)) for matrix, values in rows.items())


@dataclass(frozen=True, kw_only=True)
class MovingPart:
    """What one arm let move in one phase, for the page."""

    arm: Arm
    place: int
    phase: str
    moving: Moving
    drawing: Markup

    @property
    def outside(self) -> str:
        """Embeddings, final norm and head in words."""
        words = {0.0: "still", 1.0: "moving"}
        return "; ".join(
            f"{name} {words.get(value, 'moving in part')}" for name, value in self.moving.outside
        )


def moving_parts(analysis: Analysis, book: ScoreBook, identity: str) -> list[MovingPart]:
    """Every arm and phase in which a method chose what moves; of several seeds the first is told.

    Args:
        analysis: The run.
        book: Of one variant.
        identity: Unique on the page, for accessible names.
    """
    placed = {arm.name: (place, arm) for place, arm in book.placed}
    found = []
    for facts in analysis.results.training:
        where = facts.checkpoint
        if facts.moving and (where.variant, where.seed) == (book.variant.name, book.seeds[0]):
            place, arm = placed[where.arm]
            name = f"{identity}-{place}-{where.phase_index}"
            found.append(
                MovingPart(
                    arm=arm,
                    place=place,
                    phase=facts.phase,
                    moving=facts.moving,
                    drawing=moving_plot(facts.moving, place, name),
                )
            )
    return found


def moving_plot(moving: Moving, place: int, identity: str) -> Markup:
    """Layers from left (input) to right, a row for each part; filled cells move.

    Above, where layers were ranked, a bar for each layer's score.
    """
    has_bars = len(moving.scores) == 1
    top = _BARS + 6 if has_bars else 4
    height = top + _ROW * len(moving.parts) + _FLOOR
    num_layers = max((len(row) for _, row in moving.parts), default=1)
    width = (WIDTH - _LEFT - _RIGHT) / num_layers
    drawn = []
    if has_bars:
        drawn += _bars(moving.scores[0][1], width)
    for index, (name, row) in enumerate(moving.parts):
        y = top + _ROW * index
        drawn.append(element("text", name, x=_LEFT - 6, y=y + 12, text_anchor="end", class_="tick"))
        drawn += _cells(row, width, y)
    for layer in {0, num_layers - 1}:
        x = _LEFT + width * (layer + 0.5)
        drawn.append(
            element("text", str(layer), x=x, y=height - 8, text_anchor="middle", class_="tick")
        )
    return drawing(
        identity,
        "What moves, layer by layer",
        told(moving),
        element("g", *drawn, class_=colour_class(place)),
        height=height,
    )


def told(moving: Moving) -> str:
    """The drawing in words: which layers stand still, part by part."""
    words = []
    for name, row in moving.parts:
        still = [str(layer) for layer, value in enumerate(row) if value == 0]
        where = (
            "moves in every layer" if not still else f"stands still in layers {', '.join(still)}"
        )
        words.append(f"{visible(name)} {where}")
    return "; ".join(words)


def _bars(scores: Values, width: float) -> list[Markup]:
    highest = max((score for score in scores if score is not None), default=0.0)
    scale = Scale(0.0, highest or 1.0, 0.0, _BARS - 12)
    drawn = []
    for layer, score in enumerate(scores):
        tall = scale(score or 0.0)
        x = _LEFT + width * layer
        drawn.append(
            element("rect", x=x + 0.5, y=_BARS - tall, width=max(width - 1, 0.5), height=tall,
                    class_="bar")
        )  # fmt: skip
    label = element("text", "score", x=_LEFT - 6, y=_BARS, text_anchor="end", class_="tick")
    top = element("text", number(highest), x=_LEFT - 6, y=18, text_anchor="end", class_="tick")
    return [group([*drawn, label, top])]


def _cells(row: Values, width: float, y: float) -> list[Markup]:
    drawn = []
    for layer, value in enumerate(row):
        if value is None:
            continue
        box = {"x": _LEFT + width * layer + 0.5, "y": y + 1.0, "height": _ROW - 2.0}
        box["width"] = max(width - 1, 0.5)
        drawn.append(element("rect", **box, class_="still"))
        if value > 0:
            drawn.append(element("rect", **box, class_="moves", fill_opacity=float(value)))
    return drawn


def score_rows(moving: Moving) -> Sequence[tuple[str, tuple[str, ...]]]:
    """The scores as text, for the table under the drawing."""
    return [
        (name, tuple("" if value is None else number(value) for value in row))
        for name, row in moving.scores
    ]
