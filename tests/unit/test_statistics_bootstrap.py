"""Bootstrap: the right distribution, in bounded memory, repeatably."""

import time
import tracemalloc

import numpy as np
import pytest
from medpsy.statistics import average, bootstrap_average, bootstrap_scores, interval, suite_score


def outcomes(questions, runs, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((questions, runs)) < rng.beta(2, 1, questions)[:, None]


def plain_bootstrap(values, replicates, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([100 * rng.choice(values, len(values)).mean() for _ in range(replicates)])


@pytest.mark.parametrize("values", [outcomes(80, 3).mean(axis=1), np.random.default_rng(1).random(80)])
def test_distribution_is_that_of_drawing_questions_again(values):
    ours, plain = bootstrap_scores(values, replicates=20_000), plain_bootstrap(values, 8_000)
    assert ours.mean() == pytest.approx(plain.mean(), abs=0.15)
    assert ours.std() == pytest.approx(plain.std(), rel=0.03)
    for quantile in (0.025, 0.5, 0.975):
        assert np.quantile(ours, quantile) == pytest.approx(np.quantile(plain, quantile), abs=0.4)


def test_margin_is_that_of_the_formula():
    found = outcomes(1000, 3)
    assert interval(bootstrap_scores(found)).margin == pytest.approx(suite_score(found).margin, rel=0.05)


def test_groups_are_strata_of_equal_weight():
    found, groups = outcomes(900, 3), np.repeat(["a", "b"], [800, 100])
    drawn = bootstrap_scores(found, groups=groups)
    assert drawn.mean() == pytest.approx(suite_score(found, groups=groups).score, abs=0.1)
    assert interval(drawn).margin == pytest.approx(suite_score(found, groups=groups).margin, rel=0.05)


def test_average_of_seven_suites():
    suites = [outcomes(n, 3, seed=n) for n in (300, 350, 400, 450, 500, 550, 600)]
    groups = [np.repeat(["a", "b"], [100, 200]), *[None] * 6]
    drawn = bootstrap_average(list(zip(suites, groups, strict=True)))
    expected = average([suite_score(one, groups=group) for one, group in zip(suites, groups, strict=True)])
    assert drawn.mean() == pytest.approx(expected.score, abs=0.05)
    assert interval(drawn).margin == pytest.approx(expected.margin, rel=0.05)


def test_suites_are_drawn_apart():
    same = outcomes(300, 1)
    one, seven = bootstrap_scores(same), bootstrap_average([(same, None)] * 7)
    assert seven.std() == pytest.approx(one.std() / np.sqrt(7), rel=0.05)


def test_a_seed_repeats_and_another_does_not():
    found = outcomes(100, 3)
    assert np.array_equal(bootstrap_scores(found, seed=5), bootstrap_scores(found, seed=5))
    assert not np.array_equal(bootstrap_scores(found, seed=5), bootstrap_scores(found, seed=6))


def test_interval_holds_95_percent():
    found = interval(np.arange(1001) / 10)
    assert (found.low, found.high, found.margin) == pytest.approx((2.5, 97.5, 47.5))


def test_a_million_graded_items_in_seconds():
    million = outcomes(333_334, 3)
    started = time.process_time()
    found = interval(bootstrap_scores(million))
    assert time.process_time() - started < 10  # 0.3 s on an idle machine
    assert found.margin == pytest.approx(suite_score(million).margin, rel=0.05)


def test_memory_is_bounded():
    values = np.random.default_rng(0).random(20_000)  # all different: 20,000 x 1,000 draws would be 160 MB
    tracemalloc.start()
    bootstrap_scores(values, replicates=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20
