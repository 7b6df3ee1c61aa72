"""The table of LaTeX: whole, escaped, and with the figures of the page."""

import re

from retain.report.analysis import analyse, choose_arms
from retain.report.heat import heat_maps
from retain.report.latex import escaped, measures_tex
from tests.report.test_page import everything_hostile


def tex_of(results):
    analysis = analyse(results, choose_arms(results))
    return analysis, measures_tex(analysis)


def test_every_arm_and_task_has_its_cell(results):
    analysis, text = tex_of(results)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = text.split(r"\begin{tabular}{")[1].split("}")[0]
    assert columns == "l" + "r" * 5
    assert {row.count(" & ") for row in rows} == {5}
    names = [row.split(" & ")[0] for row in rows]
    assert names == ["", "", "base model", "none", r"low\_rate", "replay", "freeze"]
    (book,) = analysis.books
    cell = heat_maps(book)[0].rows[-1][1][0]
    assert cell.value_text in rows[3]
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert text.isascii()


def test_a_change_beyond_its_interval_is_bold(results):
    _, text = tex_of(results)
    piqa = [line.split(" & ")[4] for line in text.splitlines() if line.startswith("none & ")]
    assert re.fullmatch(
        r"\\textbf\{0\.\d+\} \{\\scriptsize \[\$-\$0\.\d+, \$-\$0\.\d+\]\}", piqa[0]
    )


def test_nothing_that_somebody_wrote_is_a_command_of_latex(results):
    hostile = r"\input{/etc/passwd} $x$ % & # _ ^ ~ {"
    _, text = tex_of(everything_hostile(results, hostile))
    assert "\\input" not in text
    assert escaped(hostile)[:22] == r"\textbackslash{}input\{"[:22]
    without = re.sub(r"\\[$&#_%{}]", "", text)
    names = [line for line in without.splitlines() if line.startswith(r"none\textbackslash")]
    assert names
    assert not re.search(r"(?<!\\)[%#]", names[0])
