"""The page's pictures as files, PNG and SVG, for papers and slides.

Drawn with matplotlib's own objects, without its global state; the same results give the same
bytes, since dates and random identifiers are left out.
"""

import secrets
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retain.report.analysis import Analysis
from retain.report.curves import curve_lines
from retain.report.heat import Cell, HeatMap, heat_maps
from retain.report.moving import MovingPart, moving_parts
from retain.report.planes import Panel, Point, panels
from retain.report.scorebook import ScoreBook
from retain.report.text import one_line, visible
from retain.steps.durable import TEMPORARY, announce, fsync, make_folder, publish, remove_tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    *("#3d4148", "#0969b5", "#b4490c", "#0d7a5b"),
    *("#8a3d8f", "#8a6a00", "#b01f4e", "#4a6b12"),
)
"""Of arms, as in the page's style sheet."""

TONES = {
    -3: "#f0a878",
    -2: "#f9cfb3",
    -1: "#fdebdf",
    0: "#ffffff",
    1: "#e4eef8",
    2: "#bfd8ef",
    3: "#8fbce4",
}
"""Of heat map cells, loss to gain, as in the page's style sheet."""

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#e2e2dd",
    "svg.hashsalt": "retain",
    "svg.fonttype": "path",
    "path.simplify": True,
}

DOTS_PER_INCH = 144


def draw_figures(analysis: Analysis, folder: Path) -> list[Path]:
    """Write every picture of the page as PNG and SVG; pictures of a former run go.

    They are drawn in a folder beside, which then takes the place of ``folder``.

    Args:
        analysis: What to draw.
        folder: Where to; all that was in it before is removed.

    Returns:
        The files, in the order written: planes, scores and loss of each variant.
    """
    make_folder(folder.parent)
    building = folder.with_name(f"{TEMPORARY}-{folder.name}-{secrets.token_hex(4)}")
    make_folder(building)
    try:
        names = _draw(analysis, building)
        for name in names:
            fsync(building / name)
        fsync(building)
        if folder.exists():
            remove_tree(folder)
        publish(building, folder)
    except BaseException:
        if building.exists():
            remove_tree(building)
        raise
    return [folder / name for name in names]


def _draw(analysis: Analysis, folder: Path) -> list[str]:
    """Names of the files, in the order written."""
    import matplotlib

    written = []
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # a name in a script that matplotlib's own font lacks is drawn as boxes; the page has it
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for book, full in zip(analysis.books, analysis.full_books, strict=True):
            several = f"-{book.variant.name}" if len(analysis.books) > 1 else ""
            for name, figure in _figures(analysis, book, full):
                for kind in ("png", "svg"):
                    path = folder / f"{name}{several}.{kind}"
                    metadata: dict[str, Any] = (
                        {"Software": None} if kind == "png" else {"Date": None}
                    )
                    announce("write", path)
                    figure.savefig(path, dpi=DOTS_PER_INCH, metadata=metadata, format=kind)
                    written.append(path.name)
    return written


def _figures(
    analysis: Analysis, book: ScoreBook, full: ScoreBook
) -> "Iterator[tuple[str, Figure]]":
    shown = panels(full)
    if shown:
        yield "learnt-against-forgotten", _planes(shown)
    maps = heat_maps(book)
    if maps and maps[0].columns:
        yield "scores", _scores(maps)
    losses = [
        [curve for curve in analysis.results.curves if curve.checkpoint[:1] + curve.checkpoint[2:]
         == (book.variant.name, book.seeds[0], index)]
        for index in range(1, book.num_phases + 1)
    ]  # fmt: skip
    if all(losses):
        yield "loss", _losses(book, losses)
    if parts := moving_parts(analysis, book, "moving"):
        yield "what-moves", _what_moves(parts)


def _canvas(num_columns: int, num_rows: int, width: float, height: float) -> "tuple[Figure, Any]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * num_columns, height * num_rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def _planes(shown: Sequence[Panel]) -> "Figure":
    figure, grid = _canvas(len(shown), 1, 3.6, 3.4)
    for panel, axes in zip(shown, grid[0], strict=True):
        axes.set_title(f"{_said(panel.title)}\n{_said(panel.subtitle)}", fontsize=9, loc="left")
        axes.axhline(0, color="#888888", linestyle="--", linewidth=0.9)
        for points in panel.curves:
            colour = COLOURS[points[0].place % len(COLOURS)]
            across, along = [p.learnt for p in points], [p.lost for p in points]
            axes.plot(across, along, color=colour, linewidth=0.9, linestyle="--", alpha=0.6)
        for points in panel.paths:
            colour = COLOURS[points[0].place % len(COLOURS)]
            across, along = [p.learnt for p in points], [p.lost for p in points]
            axes.plot(across, along, color=colour, linewidth=0.9, marker=".", alpha=0.7)
        for point in panel.points:
            _draw_point(axes, point)
        axes.invert_yaxis()
        axes.set_xlabel(_said(panel.learnt_label))
        axes.set_ylabel("lost")
    grid[0][0].legend(fontsize=8, frameon=False)
    return figure


def _draw_point(axes: "Axes", point: Point) -> None:
    colour = COLOURS[point.place % len(COLOURS)]
    shape = "D" if point.arm.is_reference else "o" if point.arm.is_plain else "s"
    across = point.learnt_interval if point.learnt_interval.known else (point.learnt,) * 2
    along = point.lost_interval if point.lost_interval.known else (point.lost,) * 2
    axes.plot(across, (point.lost,) * 2, color=colour, linewidth=1.1, alpha=0.6)
    axes.plot((point.learnt,) * 2, along, color=colour, linewidth=1.1, alpha=0.6)
    axes.plot(
        *(point.learnt, point.lost),
        marker=shape,
        color=colour,
        linestyle="none",
        label=_said(point.arm.name),
    )
    for x, y in point.seeds:
        axes.plot(x, y, marker="o", markersize=3, markerfacecolor="none", color=colour)


def _scores(maps: Sequence[HeatMap]) -> "Figure":
    """One table of coloured cells per arm, one under the other."""
    num_rows = len(maps[0].rows)
    figure, grid = _canvas(1, len(maps), 1.5 * len(maps[0].columns) + 1, 0.45 * num_rows + 0.75)
    for one, axes in zip(maps, grid[:, 0], strict=True):
        axes.set_title(_said(one.arm.name), fontsize=10, loc="left", fontweight="bold")
        axes.set_xlim(0, len(one.columns))
        axes.set_ylim(num_rows, 0)
        axes.set_yticks([row + 0.5 for row in range(num_rows)], [_said(p) for p, _ in one.rows])
        names = [_said(column.name) for column in one.columns]
        axes.set_xticks([place + 0.5 for place in range(len(names))], names)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        for row, (_, cells) in enumerate(one.rows):
            for place, cell in enumerate(cells):
                _draw_cell(axes, place, row, cell)
    return figure


def _draw_cell(axes: "Axes", place: int, row: int, cell: Cell) -> None:
    from matplotlib.patches import Rectangle

    shape = Rectangle((place + 0.02, row + 0.04), 0.96, 0.92, facecolor=TONES[cell.tone])
    axes.add_patch(shape)
    text = f"{cell.value_text}  {cell.change_text}".strip()
    middle = place + 0.5
    axes.text(middle, row + 0.4, text, ha="center", va="center", fontsize=8.5)
    axes.text(middle, row + 0.75, cell.interval_text, ha="center", va="center", fontsize=6.5)


def _what_moves(parts: Sequence[MovingPart]) -> "Figure":
    """One map for each arm and phase: layers across, parts down, what moves in the arm's colour."""
    most = max(len(one.moving.parts) for one in parts)
    figure, grid = _canvas(1, len(parts), 6.0, 0.25 * most + 1.0)
    for one, axes in zip(parts, grid[:, 0], strict=True):
        title = f"{one.arm.name}, {one.phase}: {one.outside}"
        axes.set_title(_said(one_line(title, 90)), fontsize=9, loc="left")
        for y, (_, row) in enumerate(one.moving.parts):
            for layer, value in enumerate(row):
                if value is not None:
                    _draw_part(axes, layer, -y - 1, value, COLOURS[one.place % len(COLOURS)])
        names = [_said(one_line(name, 24)) for name, _ in one.moving.parts]
        axes.set_yticks([-y - 0.5 for y in range(len(names))], names)
        axes.set_ylim(-len(names) - 0.1, 0.1)
        axes.set_xlim(-0.6, max(len(row) for _, row in one.moving.parts) - 0.4)
        axes.locator_params(axis="x", integer=True)
        axes.grid(visible=False)
        axes.set_xlabel("layer")
    return figure


def _draw_part(axes: "Axes", layer: int, bottom: int, fraction: float, colour: str) -> None:
    from matplotlib.patches import Rectangle

    place, *size = (layer - 0.45, bottom + 0.05), 0.9, 0.9
    axes.add_patch(Rectangle(place, *size, facecolor=colour, alpha=fraction))
    axes.add_patch(Rectangle(place, *size, fill=False, edgecolor="#c4c5bf", linewidth=0.5))


def _losses(book: ScoreBook, losses: Sequence[Sequence[Any]]) -> "Figure":
    figure, grid = _canvas(len(losses), 1, 3.6, 3.0)
    for phase, curves, axes in zip(book.variant.phases, losses, grid[0], strict=True):
        axes.set_title(_said(phase), fontsize=9, loc="left")
        for line in curve_lines(curves, book.placed):
            colour = "#5a6068" if line.place is None else COLOURS[line.place % len(COLOURS)]
            axes.plot(line.steps, line.losses, color=colour, label=_said(line.name), linewidth=1.3)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("nats per trained token")
        axes.legend(fontsize=8, frameon=False)
    return figure


def _said(text: str) -> str:
    """Text that matplotlib does not read as a formula, nor hides from the legend."""
    shown = visible(text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
