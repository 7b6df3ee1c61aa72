"""What moves: read from a step's file, drawn, and told in words."""

import re

import pytest

from retain.report.analysis import analyse, choose_arms
from retain.report.moving import moving_of, moving_parts, moving_plot, told
from tests.report.reading import Reader
from tests.report.synthetic import MOVING

LAYER = {"attention": 1.0, "mlp": 0.0, "norm": 1.0, "other": None}


def content(**numbers):
    return {
        "names": ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"],
        "numbers": {"select": "random", "scored_by": None, **numbers},
        "moves": {
            "blocks": [LAYER, LAYER | {"mlp": 1.0}],
            "embeddings": 1.0, "final_norm": 0.0, "head": None, "other": None,
        },
    }  # fmt: skip


def test_kinds_of_parts_that_a_model_has():
    found = moving_of(content(layer_scores=[0.5, 0.25]))
    assert found.parts == (("attention", (1.0, 1.0)), ("mlp", (0.0, 1.0)), ("norm", (1.0, 1.0)))
    assert found.scores == (("layer", (0.5, 0.25)),)
    assert found.outside == (("embeddings", 1.0), ("final norm", 0.0))
    assert moving_of(content()).scores == ()


def test_single_matrices_are_the_parts_where_they_were_ranked():
    scores = {
        f"model.layers.{layer}.mlp.{part}.weight": layer + 0.5
        for layer in range(2)
        for part in ("up_proj", "down_proj")
    }
    found = moving_of(content(matrix_scores=scores, scored_by="signal to noise"))
    assert found.parts == (("up_proj", (0.0, 1.0)), ("down_proj", (0.0, 0.0)))
    assert found.scores == (("up_proj", (0.5, 1.5)), ("down_proj", (0.5, 1.5)))
    assert found.scored_by == "signal to noise"


def test_filled_cells_move_and_bars_are_the_scores():
    drawing = str(moving_plot(MOVING, 3, "x"))
    assert drawing.count('class="still"') == 11  # one layer has no norm
    assert drawing.count('class="moves"') == 6
    assert drawing.count('fill-opacity="0.5"') == 1
    tall = [float(h) for h in re.findall(r'height="([\d.]+)" class="bar"', drawing)]
    assert tall == pytest.approx([tall[3] * part for part in (1 / 12, 0.5, 1 / 6, 1)], rel=1e-3)
    assert not Reader(drawing).faults
    assert told(MOVING).startswith("attention stands still in layers 1, 3; mlp stands")


def test_every_arm_and_phase_in_which_a_method_chose(results):
    analysis = analyse(results, choose_arms(results))
    [part] = moving_parts(analysis, analysis.books[0], "moving")
    assert (part.arm.name, part.place, part.phase) == ("freeze", 3, "hindi")
    assert part.outside == "embeddings still; final norm moving; head moving in part"
