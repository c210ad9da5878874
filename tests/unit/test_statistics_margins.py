"""Margins of suite scores: closed forms, the style guide's numbers, and coverage in simulated suites."""

from math import sqrt

import numpy as np
import pytest
from medpsy.statistics import (
    Target,
    average,
    expected_margin,
    proportion_margin,
    question_variances,
    run_spread,
    suite_score,
)
from scipy import stats

Z = 1.959963984540054
MEDQA = Target(suite_size=1273, published_runs=3)


def draw(shares, runs, seed=0):
    return np.random.default_rng(seed).random((len(shares), runs)) < np.asarray(shares)[:, None]


def test_variances_of_a_known_mixture():
    shares = np.random.default_rng(1).beta(2, 1, 200_000)
    found = question_variances(draw(shares, 3))
    assert found.between == pytest.approx(shares.var(), abs=0.002)
    assert found.within == pytest.approx((shares * (1 - shares)).mean(), abs=0.002)


def test_variances_are_those_of_a_one_way_analysis():
    outcomes = draw(np.random.default_rng(2).random(40), 3).astype(float)
    f = stats.f_oneway(*outcomes).statistic  # mean square between / mean square within
    found = question_variances(outcomes)
    assert found.between == pytest.approx((f - 1) * found.within / 3)


def test_one_run_cannot_tell_the_two_apart_and_takes_the_bound():
    outcomes = draw(np.full(100, 0.7), 1)
    found = question_variances(outcomes)
    share = outcomes.mean()
    assert (found.between, found.within) == (0, pytest.approx(share * (1 - share) * 100 / 99))


@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("runs", [1, 3])
def test_equal_outcomes_do_not_give_a_margin_of_zero(share, runs):
    found = suite_score(np.full((30, runs), share), suite_size=300)
    assert found.score == 100 * share
    assert 3 < found.margin < 15


def test_formula_of_one_group():
    shares = np.random.default_rng(3).random(200)
    outcomes = draw(shares, 3)
    v = question_variances(outcomes)
    variance = v.between * (1 / 200 - 1 / 1273) + v.within / (200 * 3) + v.within / (1273 * 3)
    found = suite_score(outcomes, suite_size=1273, published_runs=3)
    assert found.margin == pytest.approx(100 * Z * sqrt(variance))
    assert found.margin**2 == pytest.approx(found.sampling**2 + found.runs_noise**2)
    assert (found.questions, found.runs) == (200, 3)


def test_asking_the_whole_suite_leaves_only_run_noise():
    found = suite_score(draw(np.random.default_rng(4).random(200), 3), suite_size=200)
    assert found.sampling == 0
    assert found.margin == found.runs_noise > 0


def test_groups_are_averaged_without_weights():
    outcomes = np.array([1, 1, 1, 1, 0, 0, 1, 0])
    groups = ["a"] * 6 + ["b"] * 2
    assert suite_score(outcomes, groups=groups).score == pytest.approx(100 * (4 / 6 + 1 / 2) / 2)
    alone = [suite_score(outcomes[:6]).margin, suite_score(outcomes[6:]).margin]
    assert suite_score(outcomes, groups=groups).margin == pytest.approx(sqrt(alone[0] ** 2 + alone[1] ** 2) / 2)


def test_equal_groups_have_the_margin_of_a_stratified_sample():
    rng = np.random.default_rng(5)
    outcomes, groups = draw(rng.random(600), 1), np.repeat(range(6), 100)
    variance = sum(outcomes[groups == g].var(ddof=1) / 100 for g in range(6)) / 36
    assert suite_score(outcomes, groups=groups).margin == pytest.approx(100 * Z * sqrt(variance))


@pytest.mark.parametrize(
    ("questions", "size", "runs", "score", "margin"),
    # the margins our style guide derives for full and partial reruns of published scores
    [(1273, 1273, 1, 76, 2.7), (1273, 1273, 3, 76, 1.9), (500, 500, 1, 70, 4.6), (500, 500, 3, 70, 3.3)],
)
def test_expected_margin_before_anything_is_run(questions, size, runs, score, margin):
    suite = Target(suite_size=size, published_runs=3)
    assert expected_margin(score, questions=questions, target=suite, runs=runs) == pytest.approx(margin, abs=0.06)


def test_200_questions_of_anything():
    found = [expected_margin(score, questions=200, target=MEDQA) for score in (50, 65, 80)]
    assert 5.5 < min(found) < max(found) < 7.2


def test_expected_margin_agrees_with_the_measured_one():
    outcomes = draw(np.full(500, 0.6), 3)  # all of the spread is run noise
    measured = suite_score(outcomes, suite_size=1000, published_runs=3)
    suite = Target(suite_size=1000, published_runs=3)
    assert expected_margin(60, questions=500, target=suite, runs=3) == pytest.approx(measured.margin, rel=0.1)


def test_expected_margin_refuses_what_it_would_have_to_guess():
    with pytest.raises(ValueError, match="published_runs"):
        expected_margin(60, questions=200, target=Target(suite_size=500))
    for score, questions in ((60, 501), (60, 0), (101, 200)):
        with pytest.raises(ValueError, match="out of range"):
            expected_margin(score, questions=questions, target=Target(suite_size=500, published_runs=3))


def test_average_of_independent_suites():
    scores = [suite_score(draw(np.full(n, 0.6), 3, seed=n)) for n in (100, 200, 300)]
    found = average(scores)
    assert found.score == pytest.approx(np.mean([one.score for one in scores]))
    assert found.margin == pytest.approx(sqrt(sum(one.margin**2 for one in scores)) / 3)
    assert found.questions == 600
    with pytest.raises(ValueError, match="no scores"):
        average([])


def test_runs_are_scored_one_by_one():
    found = run_spread([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]])
    assert found.scores == (75, 50, 25)
    assert (found.mean, found.deviation) == (50, 25)
    grouped = run_spread([[1, 0], [1, 1], [0, 0]], groups=["a", "a", "b"])
    assert grouped.scores == (50, 25)
    assert run_spread([1, 0]).deviation is None


@pytest.mark.parametrize(("correct", "total"), [(0, 5), (5, 5), (3, 5), (818, 1273), (1, 10_000)])
def test_margin_of_a_share_is_the_longer_arm_of_wilsons_interval(correct, total):
    exact = stats.binomtest(correct, total).proportion_ci(method="wilson")
    share = correct / total
    assert proportion_margin(correct, total) == pytest.approx(100 * max(exact.high - share, share - exact.low))


def covers(seed, *, groups, asked, size, runs, published_runs):
    """Simulate one rerun of a suite and tell whether the margin reaches the published score (or the truth)."""
    rng = np.random.default_rng(seed)
    shares = np.random.default_rng(99).beta(1.2, 0.7, (groups, size))  # the same suite in every simulation
    aim = shares.mean()
    if published_runs:
        aim = np.mean([rng.binomial(published_runs, group).mean() / published_runs for group in shares])
    picked = np.concatenate([rng.choice(group, asked, replace=False) for group in shares])
    outcomes = rng.random((len(picked), runs)) < picked[:, None]
    labels = np.repeat(range(groups), asked)
    found = suite_score(
        outcomes, groups=labels, suite_size=dict.fromkeys(range(groups), size), published_runs=published_runs
    )
    return abs(found.score - 100 * aim) <= found.margin


@pytest.mark.parametrize(
    "suite",
    [
        {"groups": 1, "asked": 200, "size": 1000, "runs": 3, "published_runs": 3},
        {"groups": 1, "asked": 300, "size": 300, "runs": 3, "published_runs": 3},
        {"groups": 1, "asked": 100, "size": 1000, "runs": 3, "published_runs": None},
        {"groups": 6, "asked": 40, "size": 150, "runs": 3, "published_runs": 3},
    ],
)
def test_95_percent_margins_cover_95_percent(suite):
    assert 0.93 <= np.mean([covers(seed, **suite) for seed in range(1000)]) <= 0.97


def test_one_run_is_on_the_safe_side():
    suite = {"groups": 1, "asked": 300, "size": 300, "runs": 1, "published_runs": 3}
    assert np.mean([covers(seed, **suite) for seed in range(400)]) >= 0.95


def test_new_questions_of_the_same_kind_are_covered_too():
    hits = 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        found = suite_score(rng.random((150, 2)) < rng.beta(2, 1, 150)[:, None])
        hits += abs(found.score - 100 * 2 / 3) <= found.margin
    assert 0.93 <= hits / 1000 <= 0.97


@pytest.mark.parametrize(
    ("correct", "options", "says"),
    [
        ([], {}, "shape"),
        ([[[1]]], {}, "shape"),
        ([0, 2], {}, "between 0"),
        ([0, np.nan], {}, "none missing"),
        ([1, 0], {"groups": ["a"]}, "1 group labels for 2"),
        ([1, 0], {"suite_size": 1}, "only 1"),
        ([1, 0], {"groups": ["a", "b"], "suite_size": 10}, "one size per group"),
        ([1, 0], {"groups": ["a", "b"], "suite_size": {"a": 10}}, "'b'"),
        ([1, 0], {"published_runs": 3}, "suite_size"),
        ([1, 0], {"suite_size": 10, "published_runs": 0}, "1 at least"),
    ],
)
def test_refuses_what_it_would_have_to_guess(correct, options, says):
    with pytest.raises(ValueError, match=says):
        suite_score(correct, **options)
