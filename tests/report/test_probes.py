"""What probes found, in measures.csv and on the page."""

import csv
import io
from dataclasses import replace

import pytest

from retain.report.analysis import analyse, choose_arms
from retain.report.attention import heads
from retain.report.facts import ProbeFacts
from retain.report.head_map import HeadMap, head_map, tone
from retain.report.page import render
from retain.report.probes import drift_parts, probe_rows
from retain.report.scores import Checkpoint
from retain.report.tables import measures_csv
from tests.report.synthetic import ARMS, PHASES, make_results


def drift(arm, phase_index):
    layers = [0.125 * phase_index, 0.25, None]
    content = {
        "layers": dict.fromkeys(("cka", "cosine", "covariance", "weights"), layers),
        "num_texts": 16,
        "num_text_tokens": 280,
        "divergence": {
            "nats_per_token": 0.5 * phase_index,
            "low": 0.25,
            "high": 1.25,
            "num_examples": 40,
            "num_tokens": 200,
        },
    }
    return ProbeFacts(
        checkpoint=Checkpoint("default", arm.name, 0, phase_index),
        phase=PHASES[phase_index - 1],
        probe="drift",
        content=content,
    )


def attention(arm, phase_index):
    told = {
        "dependency": [[0.5, 0.1 + 0.15 * phase_index], [0.2, None]],
        "control": [[0.1, 0.1], [0.2, None]],
        "p": [[0.001, 0.7], [0.9, None]],
        "num_heads": 1,
        "num_sentences": 60,
        "shuffled": {"apart": [[0.0, 0.0], [0.0, None]], "num_heads": 0},
    }
    return ProbeFacts(
        checkpoint=Checkpoint("default", arm.name, 0, phase_index),
        phase=PHASES[phase_index - 1] if phase_index else "base",
        probe="attention",
        content={
            "maps": {"english": told, "all": told},
            "sink": [[0.25, 0.75], [0.5, 0.5]],
            "sink_token": "<script>",
            "note": "not reviewed",
        },
    )


@pytest.fixture(scope="module")
def results():
    found = make_results(num_items=60)
    probes = tuple(drift(arm, index) for arm in ARMS for index in (1, 2))
    probes += tuple(attention(arm, index) for arm in ARMS for index in (0, 1, 2))
    return replace(found, probes=probes)


def test_every_figure_is_a_line_of_measures(results):
    lines = list(csv.DictReader(io.StringIO(measures_csv(probe_rows(results)))))
    assert len(lines) == len(ARMS) * (2 * (1 + 4 * 3) + 3 * 2 * 4)
    [told] = [
        line
        for line in lines
        if (line["arm"], line["phase"], line["measure"]) == ("replay", "hindi", "divergence")
    ]
    assert (told["value"], told["ci_low"], told["ci_high"]) == ("1.0", "0.25", "1.25")
    assert (told["task"], told["unit"], told["versus"]) == ("probe:drift", "nats_per_token", "base")
    missing = [line for line in lines if line["metric"] == "layer 2"]
    assert missing
    assert {line["value"] for line in missing} == {""}


def test_the_page_draws_each_phase_with_all_arms(results):
    analysis = analyse(results, choose_arms(results))
    [first, second] = drift_parts(analysis, analysis.books[0], "d")
    assert (first.phase, second.phase) == PHASES
    assert [one.arm.name for one in second.divergences] == [arm.name for arm in ARMS]
    assert [title for title, _, _ in first.drawings][1] == "Covariance drift"
    page = render(analysis)
    assert "How far the models moved" in page
    assert page.count("0.125 at layer 0 to 0.250 at layer 1") == 3 * len(ARMS)


def test_the_page_maps_the_base_model_and_each_arm_with_its_change(results):
    analysis = analyse(results, choose_arms(results))
    found = heads(analysis, analysis.books[0], "h")
    base, *arms = found.parts
    assert base.arm is None
    assert [part.arm.name for part in arms] == [arm.name for arm in ARMS]
    assert found.sink == 0.5
    [(_, now), (_, change)] = arms[0].drawings
    assert "0.400 at layer 0 head 0; 1 of 3 heads beyond chance" in now
    assert "0.300 at layer 0 head 1; 0 of 3 heads beyond chance" in change
    page = render(analysis)
    assert "Attention between dependent words" in page
    assert found.parts[0].counts == [(language, 1, 0, 0, 60) for language in ("english", "all")]
    assert page.count("<script") == 1  # the page's own, which sorts tables


def test_a_map_draws_each_head_once_in_the_tone_of_its_figure():
    values = [[0.7, -0.7], [0.0, None]]
    drawn = HeadMap("t", values, [[True, False], [False, False]], 0.7)
    svg = str(head_map(drawn, "x"))
    assert svg.count('class="gain-3"') == svg.count('class="loss-3"') == 1
    assert svg.count('class="dots"') == 1
    assert tone(0.0, 0.0) == 0
    assert str(head_map(HeadMap("t", [[None]], [[False]], 0.0), "y")).count("no figure") == 1


def test_a_run_without_probes_says_nothing_of_them():
    found = make_results(num_items=60)
    assert probe_rows(found) == []
    assert "How far the models moved" not in render(analyse(found, choose_arms(found)))
