"""How many questions and runs would settle a claim.

Plans for a two-sided test at 95 % with 80 % power unless told otherwise. A plan that a suite cannot carry is None, not
a large number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import NormalDist

from medpsy.statistics.variance import Variances


@dataclass(frozen=True)
class Target:
    """What a claim is tested on.

    Args:
        suite_size: questions the suite has; None where new ones can always be written.
        published_runs: runs behind the published score we compare with; None where both scores are ours.
        power: chance of seeing a difference that is there.
    """

    suite_size: int | None = None
    published_runs: int | None = None
    power: float = 0.8


@dataclass(frozen=True)
class Plan:
    """Questions needed with so many runs of each; `questions` is None where no number of them would do."""

    runs: int
    questions: int | None


def questions_to_settle(
    difference: float, variances: Variances, *, runs: int = 1, target: Target = Target()
) -> int | None:
    """Return how many questions show a difference of `difference` points, with `runs` runs of each.

    Solves (z_0.975 + z_power)^2 V = d^2 for n, where V = between (1/n - 1/N) + within / (n R) + within / (N P) is the
    variance of `medpsy.statistics.suite_score` (sample size of a z test: Cochran, Sampling Techniques, 1977, 4.4).

    Args:
        variances: of one model's outcomes to compare with a published score, or of the paired differences of two
            models (`paired_variances`).

    Returns:
        None where even the whole suite is too small with so few runs.
    """
    _check(difference, runs, target)
    left = 0.0 if target.suite_size is None else 1 / target.suite_size
    room = _allowed(difference, target) + variances.between * left - _published(variances, target)
    if room <= 0:
        return None
    needed = max(2, ceil((variances.between + variances.within / runs) / room - 1e-9))
    return needed if target.suite_size is None or needed <= target.suite_size else None


def runs_to_settle(difference: float, variances: Variances, *, target: Target) -> int | None:
    """Return how many runs of the whole suite show a difference of `difference` points; None where no number does."""
    _check(difference, 1, target)
    if target.suite_size is None:
        raise ValueError("a suite without end has no whole to run; give suite_size")
    room = _allowed(difference, target) - _published(variances, target)
    return max(1, ceil(variances.within / (target.suite_size * room) - 1e-9)) if room > 0 else None


def plans(
    difference: float, variances: Variances, *, runs: Sequence[int] = (1, 3, 5, 10), target: Target = Target()
) -> list[Plan]:
    """Return the questions needed for each number of runs."""
    return [Plan(each, questions_to_settle(difference, variances, runs=each, target=target)) for each in runs]


def _allowed(difference: float, target: Target) -> float:
    """Return the variance at which a difference of so many points is seen with the wanted power."""
    normal = NormalDist()
    return (difference / 100 / (normal.inv_cdf(0.975) + normal.inv_cdf(target.power))) ** 2


def _published(variances: Variances, target: Target) -> float:
    if target.published_runs is None:
        return 0.0
    return variances.within / (target.suite_size * target.published_runs)


def _check(difference: float, runs: int, target: Target) -> None:
    if difference == 0 or runs < 1 or not 0.5 <= target.power < 1:
        raise ValueError(f"difference {difference}, runs {runs}, power {target.power}: out of range")
    if target.published_runs is not None and target.suite_size is None:
        raise ValueError("a published score belongs to a suite; give suite_size")
