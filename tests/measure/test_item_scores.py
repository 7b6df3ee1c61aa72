"""Scores from items: means over sources, formulas of several sums, draws against a literal one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retain.measure.bias import icat, stereoset
from retain.measure.item_scores import ItemFigures, means_of_sources, sampled_scores
from retain.measure.statistics import percentile_interval

ITEMS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 1), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=1,
    max_size=20,
)


def columns(items):
    sources, stereotype, sense = zip(*items, strict=True)
    return np.array(sources), 100 * np.array(stereotype, float), 100 * np.array(sense, float)


def literal(sources, values):
    """The mean over sources of the means of each one's items."""
    names = dict.fromkeys(sources)
    return np.mean(
        [np.mean([v for s, v in zip(sources, values, strict=True) if s == n]) for n in names]
    )


@given(items=ITEMS, seed=st.integers(0, 99))
def test_every_source_weighs_alike_in_any_order(items, seed):
    sources, stereotype, _ = columns(items)
    assert means_of_sources(stereotype, sources).score == pytest.approx(
        literal(sources, stereotype)
    )
    order = np.random.default_rng(seed).permutation(len(items))
    moved = means_of_sources(stereotype[order], sources[order])
    assert moved.score == pytest.approx(means_of_sources(stereotype, sources).score)


@given(items=ITEMS)
def test_a_formula_of_both_means_is_icat_as_published(items):
    sources, stereotype, sense = columns(items)
    both = means_of_sources(np.stack([sense, stereotype]), sources, icat)
    language, share = literal(sources, sense), literal(sources, stereotype)
    assert both.score == pytest.approx(language * min(share, 100 - share) / 50)


def many(num_sources=9, num_items=60):
    rng = np.random.default_rng(3)
    scores_I3 = rng.standard_normal((num_items, 3))
    sources = np.array([f"term {n % num_sources}" for n in range(num_items)])
    stereotype = 100.0 * (scores_I3[:, 0] > scores_I3[:, 1])
    sense = 100 * (scores_I3[:, :2] > scores_I3[:, 2:]).mean(axis=1)
    return scores_I3, sources, stereotype, sense


def test_draws_take_whole_terms_and_are_what_the_formula_makes_of_the_same_draws():
    scores_I3, sources, stereotype, sense = many()
    figures = [
        means_of_sources(stereotype, sources),
        means_of_sources(sense, sources),
        means_of_sources(np.stack([sense, stereotype]), sources, icat),
    ]
    ss, lms, both = sampled_scores(
        figures, np.random.default_rng(0), clusters_I=sources, num_resamples=50
    )
    assert both == pytest.approx(icat(lms, ss))
    published = stereoset(scores_I3, list(sources))
    assert (ss[0], lms[0], both[0]) == pytest.approx(tuple(published))
    names = np.unique(sources)
    mean_of = {name: stereotype[sources == name].mean() for name in names}
    picked = np.random.default_rng(0).integers(len(names), size=(50, len(names)))
    assert ss[1:] == pytest.approx([np.mean([mean_of[names[i]] for i in row]) for row in picked])


def test_rows_are_paired_and_too_few_sources_have_no_interval():
    _, sources, stereotype, sense = many()
    same = means_of_sources(np.stack([sense, stereotype]), sources, icat)
    first, second = sampled_scores([same, same], np.random.default_rng(1), clusters_I=sources)
    assert np.array_equal(first, second)
    few = np.array([name[-1] for name in sources]) > "4"
    seven = np.where(few, "rest", sources)
    [sampled] = sampled_scores(
        [means_of_sources(sense, seven)], np.random.default_rng(1), clusters_I=seven
    )
    assert not math.isnan(sampled[0])
    assert not percentile_interval(sampled[1:]).known


def test_plain_and_weighted_scores_are_ratios_of_sums():
    values, weights = np.array([2.0, 4.0]), np.array([1.0, 3.0])
    assert ItemFigures(values).score == 3
    assert ItemFigures(values, weights).score == 1.5


def test_intervals_of_icat_cover():
    """95 % intervals over 40 terms cover 93 to 97 % of 600 draws of terms and items."""
    rng = np.random.default_rng(5)
    sources = np.repeat([f"term {n}" for n in range(40)], 4)
    draws = 600
    leaning = rng.beta(6, 4, size=(draws, 40)).repeat(4, axis=1)
    stereotype = 100.0 * (rng.random((draws, 160)) < leaning)
    sense = 100.0 * (rng.random((draws, 160)) < 0.8)
    truth, covered = icat(np.array(80.0), np.array(60.0)), 0
    for one, other in zip(sense, stereotype, strict=True):
        figures = means_of_sources(np.stack([one, other]), sources, icat)
        sampled = sampled_scores([figures], rng, clusters_I=sources, num_resamples=400)[0]
        low, high = percentile_interval(sampled[1:])
        covered += low <= truth <= high
    assert 0.93 <= covered / draws <= 0.97
