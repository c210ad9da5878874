"""Two models on the same questions: against scipy, against closed forms, and in simulation."""

import numpy as np
import pytest
from medpsy.statistics import mcnemar, paired_difference, paired_variances, permutation_test
from scipy import stats


def outcomes(share, questions=200, runs=3, seed=0):
    return np.random.default_rng(seed).random((questions, runs)) < share


def test_one_group_is_the_paired_t_test():
    first, second = outcomes(0.6), outcomes(0.5, seed=1)
    exact = stats.ttest_rel(first.mean(axis=1), second.mean(axis=1))
    found = paired_difference(first, second)
    assert found.difference == pytest.approx(100 * (first.mean() - second.mean()))
    assert found.p_value == pytest.approx(exact.pvalue)
    assert found.margin == pytest.approx(100 * (exact.confidence_interval().high - first.mean() + second.mean()))
    assert found.questions == 200


def test_models_may_have_different_numbers_of_runs():
    assert paired_difference(outcomes(0.6, runs=1), outcomes(0.6, runs=3, seed=1)).margin > 0


def test_groups_count_equally():
    first, second = np.array([1, 1, 1, 0, 1, 0]), np.array([1, 0, 1, 0, 0, 1])
    found = paired_difference(first, second, groups=["a"] * 4 + ["b"] * 2)
    assert found.difference == pytest.approx(100 * (0.25 + 0) / 2)
    error = np.sqrt(np.var([0, 1, 0, 0], ddof=1) / 4 + np.var([1, -1], ddof=1) / 2) / 2
    assert found.margin == pytest.approx(100 * stats.t.ppf(0.975, 4) * error)


def test_pairing_beats_comparing_margins():
    shares = np.random.default_rng(2).random(500)
    rng = np.random.default_rng(3)
    first, second = (rng.random((500, 3)) < np.clip(shares + shift, 0, 1)[:, None] for shift in (0.05, 0))
    found = paired_difference(first, second)
    unpaired = 196 * np.sqrt(first.mean(axis=1).var() / 500 + second.mean(axis=1).var() / 500)
    assert found.margin < 0.7 * unpaired


def test_equal_models_differ_by_nothing_but_not_with_certainty():
    same = outcomes(0.6)
    found = paired_difference(same, same)
    assert (found.difference, found.p_value) == (0, 1)
    assert 0.5 < found.margin < 2


def test_a_difference_on_every_question_is_found():
    found = paired_difference(np.ones(50), np.zeros(50))
    assert found.difference == 100
    assert 0 < found.margin < 10
    assert found.p_value < 1e-10


def test_paired_margins_cover_95_percent():
    hits, truth = 0, 100 * stats.beta(2, 2).expect(lambda share: np.minimum(share + 0.05, 1) - share)
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        shares = rng.beta(2, 2, 120)
        first = rng.random((120, 3)) < np.minimum(shares + 0.05, 1)[:, None]
        found = paired_difference(first, rng.random((120, 3)) < shares[:, None])
        hits += abs(found.difference - truth) <= found.margin
    assert 0.93 <= hits / 1000 <= 0.97


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (5, 15), (12, 12), (40, 60), (700, 800)])
def test_mcnemar_is_an_exact_sign_test(only_first, only_second):
    first = [1] * only_first + [0] * only_second + [1, 0]
    second = [0] * only_first + [1] * only_second + [1, 0]
    apart = only_first + only_second
    exact = stats.binomtest(only_first, apart).pvalue if apart else 1
    assert mcnemar(first, second) == pytest.approx(exact)


@pytest.mark.parametrize(("first", "second"), [([[1, 0]], [[1, 1]]), ([0.5], [1]), ([1, 0], [1])])
def test_mcnemar_takes_single_runs_only(first, second):
    with pytest.raises(ValueError, match="one run"):
        mcnemar(first, second)


def test_permutation_test_agrees_with_scipy():
    first, second = outcomes(0.6, 60, 2), outcomes(0.45, 60, 2, seed=1)
    differences = (first.astype(float) - second).mean(axis=1)
    exact = stats.permutation_test(
        (differences, np.zeros(60)), lambda a, b, axis: (a - b).mean(axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=20_000, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert permutation_test(first, second, permutations=20_000) == pytest.approx(exact.pvalue, abs=0.01)


def test_permutation_test_is_exact_where_all_flips_can_be_counted():
    # eight questions, all won by the first model: only the two extreme sign patterns are as large
    assert permutation_test(np.ones(8), np.zeros(8), permutations=200_000) == pytest.approx(2 / 2**8, abs=0.0008)
    assert permutation_test(np.ones(8), np.ones(8)) == 1


def test_permutation_test_with_groups_and_a_seed():
    first, second, groups = outcomes(0.6), outcomes(0.55, seed=1), np.repeat(["a", "b"], [150, 50])
    one = permutation_test(first, second, groups=groups, seed=3)
    assert one == permutation_test(first, second, groups=groups, seed=3)
    assert one != permutation_test(first, second, groups=groups, seed=4)
    assert one == pytest.approx(paired_difference(first, second, groups=groups).p_value, abs=0.03)


def test_permutation_test_keeps_its_level():
    rejected = sum(
        permutation_test(outcomes(0.5, 40, 1, seed), outcomes(0.5, 40, 1, 10_000 + seed), permutations=400) <= 0.05
        for seed in range(400)
    )
    assert rejected / 400 < 0.08


def test_variances_of_the_difference_add_up():
    shares = np.random.default_rng(4).random(50_000)
    rng = np.random.default_rng(5)
    first, second = (rng.random((50_000, 3)) < shares[:, None] for _ in range(2))
    found = paired_variances(first, second)
    assert found.between == pytest.approx(0, abs=0.003)  # the same true share on every question
    assert found.within == pytest.approx(2 * (shares * (1 - shares)).mean(), rel=0.02)
    with pytest.raises(ValueError, match="same questions and runs"):
        paired_variances(first, second[:, :2])


def test_refuses_different_questions_and_single_ones():
    with pytest.raises(ValueError, match="3 and 2 questions"):
        paired_difference([1, 0, 1], [1, 0])
    with pytest.raises(ValueError, match="one question"):
        paired_difference([1, 0, 1], [1, 0, 1], groups=["a", "a", "b"])
