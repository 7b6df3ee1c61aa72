"""Write everything a run shows: scores.csv, measures.csv, figures, and report.html last."""

from pathlib import Path

from retain.report.analysis import Analysis, analyse, choose_arms
from retain.report.figures import draw_figures
from retain.report.judged import judged_rows
from retain.report.latex import measures_tex
from retain.report.page import render
from retain.report.probes import probe_rows
from retain.report.recovered import recovered_rows
from retain.report.results import Results
from retain.report.tables import during_csv, measures_csv, scores_csv
from retain.steps.durable import write_file, writing

DURING = "during.csv"
"""Scores of checkpoints inside phases, where the recipe asks for any."""


def write_report(results: Results, folder: Path) -> Analysis:
    """Choose, measure and write; the same results write the same bytes.

    Args:
        results: Scores and items of both roles.
        folder: The run folder; its figures go to ``figures/``.

    Returns:
        What was found, for the terminal and the exit code (``failed``).

    Raises:
        DataError: See `analyse`.
        RecipeError: See `analyse`.
        StoreError: If the disk is full or the folder cannot be written to.
    """
    analysis = analyse(results, choose_arms(results))
    page = render(analysis)
    found = analysis.results
    measures = (*analysis.measures, *probe_rows(found), *judged_rows(found), *recovered_rows(found))
    with writing(folder):
        write_file(folder / "scores.csv", scores_csv((*found.scores, *found.harness_groups)))
        write_file(folder / "measures.csv", measures_csv(measures))
        write_file(folder / "measures.tex", measures_tex(analysis))
        if analysis.results.inside:
            write_file(folder / DURING, during_csv(analysis.results.inside))
        else:
            (folder / DURING).unlink(missing_ok=True)  # of a former run
        draw_figures(analysis, folder / "figures")
        write_file(folder / "report.html", page)
    return analysis
