"""report.html: one file that opens offline and asks nothing of the network.

Every text goes through `visible` and then through the template's escaping; the only ready-made
markup is our own style sheet, drawings, and one script that sorts tables, the same in every
report. The page's policy allows these two, by their hashes, and pictures inside the page; nothing
else is loaded or run, whatever a model may have written. Without scripts the page says the same.
"""

from base64 import b64encode
from hashlib import sha256
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from retain.report.analysis import Analysis
from retain.report.answers import answer_tables
from retain.report.attention import heads
from retain.report.axes import legend_mark
from retain.report.comparisons import comparison_lines
from retain.report.curves import curve_lines, loss_plot
from retain.report.heat import bias_maps, blocks, heat_maps
from retain.report.judged import judge_part
from retain.report.moving import moving_parts
from retain.report.overview import asked, efforts, measure_lines
from retain.report.plane_drawing import plane
from retain.report.planes import panels
from retain.report.probes import drift_parts
from retain.report.questions import arm_flips
from retain.report.recovered import recovery_lines
from retain.report.scorebook import ScoreBook
from retain.report.shot_curves import shot_panels
from retain.report.text import (
    count,
    duration,
    ends,
    metric_name,
    number,
    rate,
    short_count,
    signed,
    task_name,
    visible,
)


def render(analysis: Analysis) -> str:
    """The whole page as text."""
    environment = _environment()
    loader = environment.loader
    assert loader is not None
    css, script = (loader.get_source(environment, name)[0] for name in ("style.css", "sort.js"))
    return environment.get_template("report.html.j2").render(
        results=analysis.results,
        failed=analysis.failed,
        variants=[_variant(analysis, place) for place in range(len(analysis.books))],
        many_variants=len(analysis.books) > 1,
        recipe=yaml.safe_dump(
            _plain(analysis.results.recipe), sort_keys=False, allow_unicode=True, width=88
        ),
        css=Markup(css),
        css_hash=_hash(css),
        script=Markup(script),
        script_hash=_hash(script),
        warnings=_warnings(analysis),
    )


def _hash(text: str) -> str:
    """How a policy names a style sheet or a script."""
    return b64encode(sha256(text.encode()).digest()).decode()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("retain.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalise,
    )
    environment.globals["legend_mark"] = legend_mark
    environment.filters |= {
        "count": count,
        "short_count": short_count,
        "duration": duration,
        "ends": ends,
        "metric_name": metric_name,
        "number": number,
        "rate": rate,
        "signed": signed,
        "task_name": task_name,
        "with_code": _with_code,
    }
    return environment


def _finalise(value: Any) -> Any:
    """The last thing that happens to every expression of the template, before it is escaped."""
    return visible(value) if type(value) is str else value


def _with_code(text: str) -> Markup:
    """The text with what stands between backticks set as code."""
    pieces = [escape(visible(piece)) for piece in text.split("`")]
    if len(pieces) % 2 == 0:
        return Markup("`").join(pieces)
    code, plain = Markup("<code>{}</code>"), pieces[0]
    for name, rest in zip(pieces[1::2], pieces[2::2], strict=True):
        plain += code.format(name) + rest
    return plain


def _variant(analysis: Analysis, place: int) -> dict[str, Any]:
    """All that the template shows of one variant."""
    book = analysis.books[place]
    shown = panels(analysis.full_books[place])
    maps = heat_maps(book)
    return {
        "book": book,
        "name": book.variant.name,
        "verdict": analysis.verdicts[place],
        "planes": [
            (panel, plane(panel, f"plane-{place}-{number}")) for number, panel in enumerate(shown)
        ],
        "columns": maps[0].columns if maps else (),
        "blocks": blocks(maps),
        "biases": [(name, its[0].columns, blocks(its)) for name, its in bias_maps(book)],
        "answers": answer_tables(book),
        "inside": [
            row
            for row in analysis.results.inside
            if row.variant == book.variant.name and row.is_main
        ],
        "efforts": efforts(analysis, book),
        "moving": moving_parts(analysis, book, f"moving-{place}"),
        "shot_panels": shot_panels(book, f"shots-{place}"),
        "heads": heads(analysis, book, f"heads-{place}"),
        "drifts": drift_parts(analysis, book, f"drift-{place}"),
        "judge": judge_part(analysis.results, book),
        "recovery": recovery_lines(analysis.results, book),
        "comparisons": comparison_lines(book),
        "measures": measure_lines(analysis, book),
        "flips": arm_flips(analysis, book),
        "losses": _losses(analysis, book, place),
        "asked": asked(analysis, book),
        "lineage": [one for one in analysis.results.lineage if one.variant == book.variant.name],
        "scores": [row for row in analysis.results.scores if row.variant == book.variant.name],
    }


def _losses(analysis: Analysis, book: ScoreBook, place: int) -> list[tuple[str, Markup]]:
    """One drawing per phase, of the first seed."""
    drawn = []
    for index, phase in enumerate(book.variant.phases, start=1):
        curves = [
            curve
            for curve in analysis.results.curves
            if curve.checkpoint.variant == book.variant.name
            and curve.checkpoint.seed == book.seeds[0]
            and curve.checkpoint.phase_index == index
            and len(curve.steps)
        ]
        if curves:
            lines = curve_lines(curves, book.placed)
            drawn.append((phase, loss_plot(lines, phase, f"loss-{place}-{index}")))
    return drawn


def _warnings(analysis: Analysis) -> list[str]:
    """What makes arms unlike beside their methods: mixed devices or precisions."""
    found = []
    for name in ("device", "precision"):
        values = sorted({str(getattr(facts, name)) for facts in analysis.results.training})
        if len(values) > 1:
            found.append(f"Training used more than one {name}: {', '.join(values)}.")
    return found


def _plain(value: Any) -> Any:
    """The recipe as plain data that the safe dumper writes."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
