"""The formulas against a slow literal reading of them, and their properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retain.measure import forgetting as formulas

scores = st.floats(-2, 2, allow_nan=False).map(lambda value: round(value, 6))


@st.composite
def matrices(draw, square=True):
    """A score matrix of P phases and T tasks, and its row 0."""
    num_phases = draw(st.integers(1, 5))
    num_tasks = num_phases if square else draw(st.integers(1, 5))
    score_PT = draw(arrays(np.float64, (num_phases, num_tasks), elements=scores))
    base_T = draw(arrays(np.float64, num_tasks, elements=scores))
    return score_PT, base_T


class Literal:
    """Every measure again, as the papers write it: loops over phases and tasks, one at a time."""

    def __init__(self, score_PT, base_T):
        self.score = [list(map(float, row)) for row in score_PT]
        self.base = list(map(float, base_T))
        self.phases, self.tasks = range(len(self.score)), range(len(self.base))

    def change_from_base(self):
        return [[self.score[p][t] - self.base[t] for t in self.tasks] for p in self.phases]

    def fg(self):
        found = []
        for t in self.tasks:
            total = 0.0
            for p in self.phases:
                lost = self.base[t] - self.score[p][t]
                total += math.nan if self.base[t] == 0 else lost / abs(self.base[t])
            found.append(total / len(self.score))
        return found

    def chance_adjusted(self, chance, above):
        found = []
        for p in self.phases:
            row = []
            for t in self.tasks:
                before = (self.base[t] - chance[t]) / (1 - chance[t])
                after = (self.score[p][t] - chance[t]) / (1 - chance[t])
                refused = not above[t] or before == 0
                row.append(math.nan if refused else (before - after) / before)
            found.append(row)
        return found

    def forgetting(self):
        found = []
        for t in list(self.tasks)[:-1]:
            best = -math.inf
            for p in list(self.phases)[:-1]:
                best = max(best, self.score[p][t])
            found.append(best - self.score[-1][t])
        return found

    def backward_transfer(self):
        return [self.score[-1][t] - self.score[t][t] for t in list(self.tasks)[:-1]]

    def forward_transfer(self):
        return [self.score[t - 1][t] - self.base[t] for t in list(self.tasks)[1:]]


def same(ours, literal):
    np.testing.assert_allclose(ours, np.array(literal, dtype=float), rtol=1e-9, atol=1e-9)


@given(matrices(square=False))
def test_change_from_base_and_fg_agree_with_the_literal_version(case):
    score_PT, base_T = case
    literal = Literal(score_PT, base_T)
    same(formulas.change_from_base(score_PT, base_T), literal.change_from_base())
    fg_T = formulas.all_phase_mean(formulas.relative_loss(score_PT, base_T))
    same(fg_T, literal.fg())


@given(matrices(square=False), st.data())
def test_chance_adjusted_loss_agrees_with_the_literal_version(case, data):
    score_PT, base_T = case
    chance_T = data.draw(arrays(np.float64, len(base_T), elements=st.sampled_from([0.125, 0.5])))
    above_T = data.draw(arrays(np.bool_, len(base_T)))
    ours = formulas.chance_adjusted_loss(score_PT, base_T, chance_T, above_T)
    literal = Literal(score_PT, base_T).chance_adjusted(chance_T, above_T)
    np.testing.assert_allclose(ours, literal, rtol=1e-6, atol=1e-9)


@given(matrices())
def test_measures_of_taught_tasks_agree_with_the_literal_version(case):
    score_PT, base_T = case
    literal = Literal(score_PT, base_T)
    same(formulas.forgetting(score_PT), literal.forgetting())
    same(formulas.backward_transfer(score_PT), literal.backward_transfer())
    same(formulas.forward_transfer(score_PT, base_T), literal.forward_transfer())
    same(formulas.just_learnt(score_PT), [score_PT[t][t] for t in literal.tasks])


@given(matrices(), st.floats(-3, 3))
def test_differences_do_not_move_when_all_scores_shift(case, shift):
    score_PT, base_T = case
    for measure in (formulas.forgetting, formulas.backward_transfer):
        same(measure(score_PT + shift), measure(score_PT))
    same(
        formulas.forward_transfer(score_PT + shift, base_T + shift),
        formulas.forward_transfer(score_PT, base_T),
    )
    same(
        formulas.change_from_base(score_PT + shift, base_T + shift),
        formulas.change_from_base(score_PT, base_T),
    )


@given(matrices(square=False), st.randoms())
def test_the_order_of_tasks_only_reorders_what_is_lost(case, random):
    score_PT, base_T = case
    order = list(range(len(base_T)))
    random.shuffle(order)
    same(
        formulas.relative_loss(score_PT[:, order], base_T[order]),
        formulas.relative_loss(score_PT, base_T)[:, order],
    )


@given(matrices())
def test_leading_axes_are_many_matrices_at_once(case):
    score_PT, base_T = case
    many = np.stack([score_PT, score_PT + 0.5])
    same(formulas.forgetting(many)[1], formulas.forgetting(score_PT + 0.5))
    bases = np.stack([base_T, base_T])
    same(formulas.change_from_base(many, bases)[0], formulas.change_from_base(score_PT, base_T))


@given(matrices())
def test_nothing_is_lost_when_no_score_ever_moves(case):
    _, base_T = case
    still_PT = np.tile(base_T, (len(base_T), 1))
    for measure in (formulas.forgetting, formulas.backward_transfer):
        assert not measure(still_PT).any()
    assert not formulas.change_from_base(still_PT, base_T).any()


def test_one_phase_has_no_past():
    score_PT, base_T = np.array([[0.5]]), np.array([0.25])
    for value in (
        formulas.forgetting(score_PT),
        formulas.backward_transfer(score_PT),
        formulas.forward_transfer(score_PT, base_T),
    ):
        assert value.shape == (0,)


def test_a_missing_score_makes_its_measures_missing_and_no_others():
    score_PT = np.array([[0.9, math.nan, 0.1], [0.8, 0.7, 0.1], [0.7, 0.6, 0.9]])
    lost_T = formulas.forgetting(score_PT)
    assert lost_T[0] == pytest.approx(0.2)
    assert math.isnan(lost_T[1])


def test_row_0_of_zero_has_no_relative_loss():
    assert np.isnan(formulas.relative_loss(np.array([[0.5]]), np.array([0.0]))).all()


def test_a_turned_round_metric_keeps_the_sign_of_loss():
    score_PT = formulas.oriented(np.array([[1.32]]), higher_is_better=False)
    base_T = formulas.oriented(np.array([1.1]), higher_is_better=False)
    assert formulas.relative_loss(score_PT, base_T)[0, 0] == pytest.approx(0.2)
    assert formulas.change_from_base(score_PT, base_T)[0, 0] == pytest.approx(-0.22)


def test_published_last_stage_loss_is_not_fg():
    """BLOOMZ-7.1B, domain knowledge: 33.08 to 25.61 is 22.6 % at the last stage (2308.08747)."""
    loss = formulas.relative_loss(np.array([[25.61]]), np.array([33.08]))
    assert loss[0, 0] == pytest.approx(0.226, abs=5e-4)


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(-1, 1), st.sampled_from([1.0, -1.0]))
def test_learnt_is_a_share_whatever_the_unit_and_direction(before, gained, shift, turn):
    control = before + gained
    arm = before + 0.5 * gained
    values = [np.array([turn * (value + shift)]) for value in (arm, before, control)]
    assert formulas.learnt(*values)[0] == pytest.approx(0.5)


def test_learnt_of_a_control_that_gained_nothing_is_missing():
    assert np.isnan(formulas.learnt(np.array([0.6]), np.array([0.5]), np.array([0.5])))


@given(arrays(np.float64, st.tuples(st.integers(1, 40), st.just(2)), elements=st.integers(0, 1)))
def test_flips_differ_by_the_change_of_accuracy(pairs):
    before_I, after_I = pairs.T
    lost, gained = formulas.flips(before_I, after_I)
    assert lost - gained == pytest.approx(before_I.mean() - after_I.mean())
    literal = sum(b == 1 and a == 0 for b, a in pairs) / len(pairs)
    assert lost == pytest.approx(literal)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [([], [], "the same items"), ([1.0], [1.0, 0.0], "the same items"), ([0.5], [1.0], "right")],
)
def test_flips_refuse_what_is_not_right_or_wrong(before, after, said):
    with pytest.raises(ValueError, match=said):
        formulas.flips(np.array(before), np.array(after))


def test_guessers_who_guess_again_have_forgotten_nothing():
    """Two independent guesses among 4: flips are 3/16 of all, and all of them are luck."""
    rng = np.random.default_rng(0)
    before_I, after_I = (rng.random((2, 200_000)) < 0.25).astype(float)
    lost = formulas.flips(before_I, after_I).right_to_wrong
    beyond = formulas.lost_beyond_chance(
        *(np.array([value]) for value in (lost, before_I.mean(), after_I.mean())), chance=0.25
    )
    assert lost == pytest.approx(3 / 16, abs=0.005)
    assert beyond[0] == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_chance_must_be_inside_0_and_1(chance):
    one = np.array([0.5])
    with pytest.raises(ValueError, match="inside"):
        formulas.lost_beyond_chance(one, one, one, chance)


def test_unlike_units_are_never_averaged():
    means = formulas.mean_of_like_units(np.array([0.5, -1.0, 0.7, -2.0]), ["a", "-b", "a", "-b"])
    assert list(means) == ["a", "-b"]
    assert [float(mean) for mean in means.values()] == pytest.approx([0.6, -1.5])


@pytest.mark.parametrize("shape", [(2, 3), (0, 0), (3,)])
def test_a_matrix_that_is_not_square_is_refused(shape):
    with pytest.raises(ValueError, match="one task per phase"):
        formulas.forgetting(np.zeros(shape))


def test_row_0_must_have_the_same_tasks():
    with pytest.raises(ValueError, match="row 0"):
        formulas.change_from_base(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ValueError, match="units"):
        formulas.mean_of_like_units(np.zeros(3), ["a"])
