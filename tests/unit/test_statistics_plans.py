"""Corrections for many claims, and how much would settle one."""

import numpy as np
import pytest
from medpsy.statistics import (
    Plan,
    Target,
    Variances,
    benjamini_hochberg,
    holm,
    paired_difference,
    plans,
    questions_to_settle,
    runs_to_settle,
    suite_score,
)
from scipy import stats


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5], [0.5]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.9, 0.8], [1, 1]),
        ([0, 1], [0, 1]),
        ([], []),
    ],
)
def test_holm(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted)


def test_holm_bounds_the_chance_of_one_false_claim():
    p = np.random.default_rng(0).random((2000, 10))
    assert np.mean([holm(row).min() <= 0.05 for row in p]) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_benjamini_hochberg_is_scipys(count):
    p = np.random.default_rng(count).random(count) ** 2
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    assert np.all(benjamini_hochberg(p) <= holm(p) + 1e-12)


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
@pytest.mark.parametrize("p_values", [[0.1, np.nan], [-0.1], [1.1], [[0.1]]])
def test_corrections_refuse_what_is_no_list_of_p_values(correct, p_values):
    with pytest.raises(ValueError, match="p-values"):
        correct(p_values)


ALL_NOISE = Variances(between=0.0, within=0.25)
MIXED = Variances(between=0.15, within=0.06)


def test_closed_form_without_end():
    factor = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert questions_to_settle(5, ALL_NOISE) == int(np.ceil(0.25 * (factor / 0.05) ** 2)) == 785
    assert questions_to_settle(-5, ALL_NOISE) == 785
    assert questions_to_settle(5, ALL_NOISE, target=Target(power=0.9)) == 1051
    assert questions_to_settle(50, Variances(0, 0.001)) == 2


def test_more_runs_help_only_against_run_noise():
    needed = [plan.questions for plan in plans(5, MIXED, runs=(1, 3, 1000))]
    assert needed[0] > needed[1] > needed[2]
    assert needed[2] == pytest.approx(questions_to_settle(5, Variances(0.15, 0.0)), abs=1)
    assert plans(5, MIXED, runs=(3,)) == [Plan(3, needed[1])]


def test_a_suite_can_be_too_small_for_any_number_of_questions():
    suite = Target(suite_size=500)
    assert questions_to_settle(3, ALL_NOISE, runs=1, target=suite) is None
    assert questions_to_settle(3, ALL_NOISE, runs=10, target=suite) <= 500
    assert runs_to_settle(3, ALL_NOISE, target=suite) == 5


def test_runs_of_the_whole_suite_agree_with_the_questions_needed():
    suite = Target(suite_size=800, published_runs=3)
    assert runs_to_settle(2, MIXED, target=suite) == 3
    assert questions_to_settle(2, MIXED, runs=3, target=suite) <= 800
    assert questions_to_settle(2, MIXED, runs=2, target=suite) is None


def test_noise_of_the_published_score_can_make_a_claim_out_of_reach():
    suite = Target(suite_size=500, published_runs=3)
    assert runs_to_settle(1, ALL_NOISE, target=suite) is None
    assert questions_to_settle(1, ALL_NOISE, runs=10**6, target=suite) is None


def test_the_plan_has_the_power_it_promises():
    questions, seen = questions_to_settle(8, Variances(0.0, 0.5)), 0  # two models at one half, independent runs
    for seed in range(600):
        rng = np.random.default_rng(seed)
        found = paired_difference(rng.random(questions) < 0.54, rng.random(questions) < 0.46)
        seen += abs(found.difference) > found.margin
    assert 0.75 < seen / 600 < 0.86


def test_the_plan_for_a_published_score_has_its_power_too():
    suite, seen = Target(suite_size=600, published_runs=3), 0
    shares = np.random.default_rng(1).beta(2, 1, 600)
    variances = Variances(float(shares.var(ddof=1)), float((shares * (1 - shares)).mean()))
    needed = questions_to_settle(7, variances, runs=3, target=suite)
    for seed in range(600):
        rng = np.random.default_rng(seed)
        published = 100 * rng.binomial(3, shares).mean() / 3 + 7
        outcomes = rng.random((needed, 3)) < rng.choice(shares, needed, replace=False)[:, None]
        found = suite_score(outcomes, suite_size=600, published_runs=3)
        seen += abs(found.score - published) > found.margin
    assert 0.75 < seen / 600 < 0.87


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"difference": 0, "variances": MIXED}, "difference 0"),
        ({"difference": 1, "variances": MIXED, "runs": 0}, "runs 0"),
        ({"difference": 1, "variances": MIXED, "target": Target(power=1)}, "power 1"),
        ({"difference": 1, "variances": MIXED, "target": Target(published_runs=3)}, "suite_size"),
    ],
)
def test_refuses_plans_without_meaning(arguments, says):
    with pytest.raises(ValueError, match=says):
        questions_to_settle(**arguments)


def test_a_suite_without_end_cannot_be_run_whole():
    with pytest.raises(ValueError, match="suite_size"):
        runs_to_settle(1, MIXED, target=Target())
