"""Intervals that hold at every look: by simulation, with run noise, against intervals of a single look as a control."""

import numpy as np
import pytest
from medpsy import stats
from medpsy.stats import ALPHA
from scipy.optimize import brentq

RUNS, SUITE, BATCH = 2000, 1273, 50  # MedQA has 1,273 questions
LOOKS = [*range(BATCH, SUITE, BATCH), SUITE]
SURE = np.log(1 / ALPHA)
ERROR = 2 * np.sqrt(ALPHA * (1 - ALPHA) / RUNS)  # of a share of 5 % that was simulated so often


def shares(generator, lead):
    """Return for two models how often each question is answered rightly, on average by exactly `lead` more often by the
    first; both find the same questions hard."""
    hard = generator.beta(1.6, 1.0, SUITE)
    first, second = (np.clip(hard + generator.normal(0, 0.15, SUITE), 0, 1) for _ in range(2))
    more = brentq(lambda step: np.clip(first + step, 0, 1).mean() - second.mean() - lead, -1, 1, xtol=1e-14)
    return np.clip(first + more, 0, 1), second


def gaps(generator, first, second, worlds, runs=1):
    """Return differences of a model's mean over `runs` from the other's: [world, question], in an order of its own."""
    order = np.argsort(generator.random((worlds, SUITE)), axis=1)
    right = [generator.binomial(runs, share[order]) / runs for share in (first, second)]
    return right[0] - right[1]


def first_look(crossed):
    """Return after how many questions a look first shows a decision, the whole suite where none does: [world]."""
    at_looks = crossed[:, np.array(LOOKS) - 1]
    return np.where(at_looks.any(axis=1), np.array(LOOKS)[at_looks.argmax(axis=1)], SUITE), at_looks.any(axis=1)


def in_parts(function, values, size=250):
    return np.concatenate([function(values[start : start + size]) for start in range(0, len(values), size)])


def decided(values, number=0.0):
    """Return where `number` was outside of the interval at this question or before: [world, question]."""

    def outside(part):
        capital = stats.log_capital(part - number, -1 - number, 1 - number)
        return np.maximum.accumulate(capital, axis=1) >= SURE

    return in_parts(outside, values)


def margins_exclude_zero(values):
    """Return the same of intervals for a single look: 1.96 standard errors."""
    count = np.arange(1, SUITE + 1)
    mean = np.cumsum(values, axis=1) / count
    variance = np.cumsum(values**2, axis=1) / count - mean**2
    return np.abs(mean) > stats.Z * np.sqrt(np.maximum(variance, 1e-12) / count)


@pytest.mark.parametrize("runs", [1, 3])
def test_without_a_difference_few_looks_ever_decide_and_margins_of_one_look_often_do(runs):
    generator = np.random.default_rng(runs)
    values = gaps(generator, *shares(generator, 0.0), RUNS, runs)
    assert first_look(decided(values))[1].mean() <= ALPHA + ERROR
    assert first_look(margins_exclude_zero(values))[1].mean() > 4 * ALPHA


def test_where_answers_vary_the_end_of_a_suite_tells_no_mean_but_where_they_do_not_it_does():
    generator = np.random.default_rng(3)

    def missed(values, truth):  # by intervals of a finite suite, at every look
        now = (SUITE * truth - (np.cumsum(values, axis=1) - values)) / (SUITE - np.arange(SUITE))
        now = np.clip(now, -1 + 1e-9, 1 - 1e-9)
        return np.maximum.accumulate(stats.log_capital(values - now, -1 - now, 1 - now), axis=1) >= SURE

    noisy = gaps(generator, *shares(generator, 0.0), 200)
    assert missed(noisy, 0.0)[:, -1].mean() > 0.5
    fixed = generator.permuted(np.tile(noisy[0], (RUNS, 1)), axis=1)
    assert in_parts(lambda part: missed(part, noisy[0].mean()), fixed)[:, -1].mean() <= ALPHA + ERROR
    low, high = stats.mean_interval(noisy[0], -1.0, 1.0, size=SUITE)
    assert low == pytest.approx(high) == pytest.approx(noisy[0].mean())


@pytest.mark.parametrize(
    ("lead", "runs", "asked", "power"), [(0.08, 1, 0.42, 0.97), (0.08, 3, 0.21, 0.99), (0.15, 1, 0.15, 0.99)]
)
def test_a_gap_is_decided_on_a_part_of_the_suite_and_never_the_other_way(lead, runs, asked, power):
    generator = np.random.default_rng(4)
    values = gaps(generator, *shares(generator, lead), 400, runs)
    needed, told = first_look(decided(values))
    wrong = told & (values.cumsum(axis=1)[np.arange(400), needed - 1] < 0)
    assert told.mean() >= power and needed.mean() / SUITE <= asked and wrong.mean() <= ALPHA / 2
    assert decided(values, lead)[:, -1].mean() <= ALPHA + 2 * np.sqrt(ALPHA / 400)


def test_a_ratio_of_lengths_is_covered_at_every_look_and_a_factor_of_three_is_seen_within_a_hundred():
    generator, most = np.random.default_rng(5), 16384.0
    long = generator.lognormal(7.6, 0.5, (RUNS, 400))
    first = np.minimum(long * generator.lognormal(0, 0.5, long.shape), most)  # a long tail, cut off at the bound
    second = np.minimum(long / 3 * generator.lognormal(0, 0.5, long.shape), most)
    truth = first.mean() / second.mean()

    def against(ratio):
        def capital(pair):
            return stats.log_capital(pair[:, 0] - ratio * pair[:, 1], -ratio * most, most)

        return in_parts(capital, np.stack([first, second], axis=1))

    assert 2.5 < truth < 3.5 and (against(truth).max(axis=1) >= SURE).mean() <= ALPHA + ERROR
    equal = against(1.0) >= SURE
    assert equal.any(axis=1).all() and np.median(equal.argmax(axis=1)) < 100
    low, high = stats.ratio_interval(first[0], second[0], most)
    assert 1 < low < first[0].mean() / second[0].mean() < high


@pytest.mark.parametrize("size", [None, 300])
def test_the_interval_is_what_no_player_has_grown_rich_against(size):
    values = np.random.default_rng(6).choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=200)
    low, high = stats.mean_interval(values, -1.0, 1.0, size=size)

    def against(number):
        drawn, left = np.cumsum(values) - values, np.inf if size is None else size - np.arange(200)
        now = number if size is None else (size * number - drawn) / left
        return stats.log_capital(values - now, -1 - now, 1 - now).max()

    for end in (low, high):
        assert against(end) == pytest.approx(SURE, abs=1e-3)
    assert low < values.mean() < high and against((low + high) / 2) < SURE
    wider = stats.mean_interval(values, -1.0, 1.0, size=size, alpha=0.01)
    assert wider.low < low and high < wider.high and stats.mean_interval(values[:50], -1.0, 1.0).low < low


def test_values_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"values from 0.0 to 2.0; from -1.0 to 1.0 are allowed"):
        stats.mean_interval([0.0, 2.0], -1.0, 1.0)
    with pytest.raises(ValueError, match="none missing"):
        stats.ratio_interval([1.0, np.nan], [1.0, 1.0], 10.0)
    with pytest.raises(ValueError, match="3 values of a suite of 2 questions"):
        stats.mean_interval([0.0, 0.1, 0.2], -1.0, 1.0, size=2)
