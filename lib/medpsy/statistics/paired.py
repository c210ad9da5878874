"""Two models on the same questions: how large the difference is, and whether it can be chance.

Pairs by question, so that hard questions do not count as noise. Refuses arrays that do not hold the same questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, stdtr, stdtrit

from medpsy.statistics.variance import Variances, as_matrix, group_rows, question_variances

_CELLS = 4_000_000  # numbers held at a time by a permutation test (32 MB)


@dataclass(frozen=True)
class PairedDifference:
    """First minus second model, in points, with its 95 % margin and two-sided p-value."""

    difference: float
    margin: float
    p_value: float
    questions: int


def paired_difference(first: ArrayLike, second: ArrayLike, *, groups: Sequence | None = None) -> PairedDifference:
    """Return the mean difference of two models on the same questions.

    Paired t statistic on the differences of the questions' means over runs (Student, Biometrika 6, 1908); both run
    noise and the choice of questions are in their spread. With weight groups the variance is the sum over groups of
    s^2 / n, divided by G^2, on n - G degrees of freedom. Where the differences have no spread at all, half a question
    is added to each cell of the two-by-two table (Agresti and Min, Statistics in Medicine 24, 2005), so that two
    equal models do not get a margin of zero.

    Args:
        first, second: [questions, runs] of outcomes 0 to 1, the same questions in the same order; runs may differ.
        groups: weight group of each question.

    Raises:
        ValueError: different questions, or fewer than two in a group.
    """
    differences = _differences(first, second)
    rows = list(group_rows(groups, len(differences)).values())
    if min(map(len, rows)) < 2:
        raise ValueError("a group with one question has no spread; merge groups or ask more questions")
    mean = float(np.mean([differences[numbers].mean() for numbers in rows]))
    error = sqrt(sum(_squared_error(differences[numbers]) for numbers in rows)) / len(rows)
    freedom = len(differences) - len(rows)
    p_value = 2 * float(stdtr(freedom, -abs(mean) / error))
    return PairedDifference(100 * mean, 100 * float(stdtrit(freedom, 0.975)) * error, p_value, len(differences))


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Return the exact two-sided p-value for two models with one run each.

    Only questions that just one of them got right count; under the null each is a fair coin (McNemar, Psychometrika
    12, 1947; exact binomial form).

    Raises:
        ValueError: not 0/1, or more than one run: use `paired_difference`.
    """
    one, other = as_matrix(first), as_matrix(second)
    if one.shape != other.shape or one.shape[1] != 1 or not np.isin([one, other], (0, 1)).all():
        raise ValueError(
            f"McNemar's test takes one run of 0/1 outcomes of each model, not {one.shape} and {other.shape}"
        )
    only_first, only_second = int(np.sum(one > other)), int(np.sum(one < other))
    apart = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), apart, 0.5))) if apart else 1.0


def permutation_test(
    first: ArrayLike, second: ArrayLike, *, groups: Sequence | None = None, permutations: int = 10_000, seed: int = 0
) -> float:
    """Return the two-sided p-value of the mean difference under random swaps of the two models, question by question.

    Sign-flip test (Fisher, The Design of Experiments, 1935, 21), p = (1 + as large) / (1 + permutations) (Phipson and
    Smyth, 2010). Questions with the same difference are flipped together: how many of k keep their sign is
    binomial(k, 1/2), which gives the same distribution at a fraction of the cost.
    """
    differences = _differences(first, second)
    rows = group_rows(groups, len(differences)).values()
    weighted = np.concatenate([differences[numbers] / (len(numbers) * len(rows)) for numbers in rows])
    sizes, counts = np.unique(np.abs(weighted.round(15)), return_counts=True)
    observed = abs(weighted.sum()) - 1e-12  # equal sums may differ in the last digit
    source, as_large, left = np.random.default_rng(seed), 0, permutations
    while left:
        now = min(left, max(1, _CELLS // len(sizes)))
        kept = source.binomial(counts, 0.5, size=(now, len(sizes)))
        as_large += int(np.sum(np.abs((2 * kept - counts) @ sizes) >= observed))
        left -= now
    return (1 + as_large) / (1 + permutations)


def paired_variances(first: ArrayLike, second: ArrayLike) -> Variances:
    """Estimate the variances of a question's difference, for planning; both models need the same number of runs.

    Runs of the two models are independent, so their run variances add up; what is left of the spread of the
    differences is between questions. With one run all of it counts as run noise.
    """
    one, other = as_matrix(first), as_matrix(second)
    if one.shape != other.shape:
        raise ValueError(f"shapes {one.shape} and {other.shape}; the same questions and runs are needed")
    spread = float((one - other).mean(axis=1).var(ddof=1))
    if one.shape[1] == 1:
        return Variances(0.0, spread)
    within = question_variances(one).within + question_variances(other).within
    return Variances(max(spread - within / one.shape[1], 0.0), within)


def _differences(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    one, other = as_matrix(first), as_matrix(second)
    if len(one) != len(other):
        raise ValueError(f"{len(one)} and {len(other)} questions; both models must have answered the same ones")
    return one.mean(axis=1) - other.mean(axis=1)


def _squared_error(differences: NDArray[np.float64]) -> float:
    """Return the squared standard error of the mean of `differences`, never zero."""
    count = len(differences)
    if np.ptp(differences) > 0:
        return float(differences.var(ddof=1)) / count
    size = count * float(differences[0])
    return (abs(size) + 1 - size**2 / (count + 2)) / (count + 2) ** 2
