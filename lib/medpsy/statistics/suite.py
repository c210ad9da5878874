"""A suite's score with its margin, from question sampling and from run noise.

Works on outcomes of one model; comparing two models on the same questions is `medpsy.statistics.paired`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from medpsy.statistics.power import Target
from medpsy.statistics.variance import as_matrix, group_rows, question_variances

Z = NormalDist().inv_cdf(0.975)  # 95 %, two-sided


@dataclass(frozen=True)
class Score:
    """A score and its 95 % margin, both in points.

    Args:
        sampling, runs_noise: the margin's two parts alone, in points; margin^2 is the sum of their squares.
        questions, runs: how many outcomes it rests on.
    """

    score: float
    margin: float
    sampling: float
    runs_noise: float
    questions: int
    runs: int


@dataclass(frozen=True)
class RunSpread:
    """Scores of single runs, in points; `deviation` (divisor runs - 1) is None for one run."""

    scores: tuple[float, ...]
    mean: float
    deviation: float | None


def suite_score(
    correct: ArrayLike,
    *,
    groups: Sequence | None = None,
    suite_size: int | Mapping | None = None,
    published_runs: int | None = None,
) -> Score:
    """Return the score of [questions, runs] of 0/1 outcomes with its 95 % margin.

    For group g of G with n questions asked out of N, R runs, and variances b (between questions) and w (within, over
    runs): margin = 1.96 x sqrt(sum over g of b (1/n - 1/N) + w / (n R) + w / (N P)) / G. The first term is the
    variance of a mean sampled without replacement (Cochran, Sampling Techniques, 1977, 2.6), the others are run noise;
    groups are independent strata of weight 1/G (same, 5.3). With one group and one run it is the formula of a plain
    accuracy, p (1 - p) for w.

    Args:
        groups: weight group of each question; the score is the plain mean of the groups' means.
        suite_size: questions the whole suite has, in all (one group) or by group; None: questions of this kind without
            end, so that the margin covers new questions too.
        published_runs: runs P behind a published score of the same suite; the margin is then that of the difference
            from it. None: the margin is that of our score alone.

    Raises:
        ValueError: more questions than the suite has, a group whose size is not given, or published runs of a suite
            without end.
    """
    if published_runs is not None and (suite_size is None or published_runs < 1):
        raise ValueError(f"published_runs {published_runs} needs the suite_size of the published score, and 1 at least")
    matrix = as_matrix(correct)
    rows = group_rows(groups, len(matrix))
    sampling = noise = 0.0
    for label, numbers in rows.items():
        found = question_variances(matrix[numbers])
        asked, runs = len(numbers), matrix.shape[1]
        left = _share_of_suite(suite_size, label, asked, len(rows))  # 1/N
        sampling += found.between * (1 / asked - left)
        noise += found.within / (asked * runs) + (found.within * left / published_runs if published_runs else 0.0)
    score = float(np.mean([matrix[numbers].mean() for numbers in rows.values()]))
    parts = [100 * Z * sqrt(part) / len(rows) for part in (sampling, noise)]
    return Score(100 * score, sqrt(parts[0] ** 2 + parts[1] ** 2), *parts, *matrix.shape)


def average(scores: Sequence[Score]) -> Score:
    """Return the plain mean of independent scores (seven suites); its margin is sqrt(sum of margins^2) / count."""
    if not scores:
        raise ValueError("no scores to average")
    parts = [sqrt(sum(getattr(one, name) ** 2 for one in scores)) / len(scores) for name in ("sampling", "runs_noise")]
    mean = sum(one.score for one in scores) / len(scores)
    questions, runs = sum(one.questions for one in scores), min(one.runs for one in scores)
    return Score(mean, sqrt(sum(one.margin**2 for one in scores)) / len(scores), *parts, questions, runs)


def run_spread(correct: ArrayLike, *, groups: Sequence | None = None) -> RunSpread:
    """Return each run's score, their mean and their standard deviation, in points."""
    matrix = as_matrix(correct)
    rows = group_rows(groups, len(matrix)).values()
    scores = 100 * np.mean([matrix[numbers].mean(axis=0) for numbers in rows], axis=0)
    deviation = float(scores.std(ddof=1)) if len(scores) > 1 else None
    return RunSpread(tuple(map(float, scores)), float(scores.mean()), deviation)


def expected_margin(score: float, *, questions: int, target: Target, runs: int = 1, run_share: float = 1.0) -> float:
    """Return the margin, in points, that a rerun will have around a published score, before anything is run.

    The formula of `suite_score` for one group, with p (1 - p) split into run noise and the rest.

    Args:
        score: in points.
        target: the suite's size and the runs behind the published score.
        run_share: part of p (1 - p) that is run noise, 0 to 1; 1 is the bound for a suite asked whole.
    """
    share = score / 100
    size, published_runs = target.suite_size, target.published_runs
    if size is None or published_runs is None:
        raise ValueError("a published score needs suite_size and published_runs")
    if not (0 <= share <= 1 and 0 <= run_share <= 1 and 1 <= questions <= size):
        raise ValueError(f"score {score}, run_share {run_share}, {questions} of {size} questions: out of range")
    within = run_share * share * (1 - share)
    between = share * (1 - share) - within
    noise = within / (questions * runs) + within / (size * published_runs)
    return 100 * Z * sqrt(between * (1 / questions - 1 / size) + noise)


def proportion_margin(correct: int, total: int) -> float:
    """Return the 95 % margin of `correct` out of `total`, in points: the longer arm of Wilson's interval.

    Wilson, Journal of the American Statistical Association 22, 1927. Unlike 1.96 x sqrt(p (1 - p) / n) it is not zero
    when all are right.
    """
    if not 0 <= correct <= total or not total:
        raise ValueError(f"{correct} of {total}: a share needs 0 <= correct <= total and total above 0")
    share, spread = correct / total, Z * Z / total
    centre = (share + spread / 2) / (1 + spread)
    half = sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return 100 * max(centre + half - share, share - centre + half)


def _share_of_suite(suite_size: int | Mapping | None, label: object, asked: int, groups: int) -> float:
    """Return 1 / size of the group, 0 where the suite has no end."""
    if suite_size is None:
        return 0.0
    if isinstance(suite_size, Mapping):
        if label not in suite_size:
            raise ValueError(f"suite_size has no size for group {label!r}")
        size = suite_size[label]
    elif groups == 1:
        size = suite_size
    else:
        raise ValueError(f"suite_size {suite_size} for {groups} weight groups; give one size per group")
    if asked > size:
        raise ValueError(
            f"{asked} questions asked, but the suite has only {size}" + (f" in {label!r}" if label else "")
        )
    return 1 / size
