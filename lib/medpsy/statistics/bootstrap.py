"""Bootstrap of scores: questions drawn again with replacement, within their weight groups.

Draws whole questions with all their runs, so run noise is in the spread. Seeded; memory is bounded however many items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medpsy.statistics.variance import as_matrix, group_rows

_CELLS = 4_000_000  # numbers held at a time (32 MB)


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval in points; `margin` is half its width."""

    low: float
    high: float
    margin: float


def bootstrap_scores(
    correct: ArrayLike, *, groups: Sequence | None = None, replicates: int = 10_000, seed: int = 0
) -> NDArray[np.float64]:
    """Return `replicates` bootstrap scores, in points, of [questions, runs] of outcomes 0 to 1.

    Efron, Annals of Statistics 7, 1979; groups are strata and are averaged without weights. A draw of n questions
    with replacement is described wholly by how often each distinct question mean occurs in it, which is multinomial;
    with R runs there are just R + 1 of them, so a million items cost no more than a few.
    """
    matrix = as_matrix(correct)
    means = matrix.mean(axis=1)
    source = np.random.default_rng(seed)
    drawn = [_group(means[rows], replicates, source) for rows in group_rows(groups, len(means)).values()]
    return 100 * np.mean(drawn, axis=0)


def bootstrap_average(
    suites: Sequence[tuple[ArrayLike, Sequence | None]], *, replicates: int = 10_000, seed: int = 0
) -> NDArray[np.float64]:
    """Return bootstrap replicates of the plain mean over independent suites, each a pair (outcomes, groups)."""
    seeds = np.random.SeedSequence(seed).spawn(len(suites))
    drawn = [
        bootstrap_scores(correct, groups=groups, replicates=replicates, seed=int(own.generate_state(1)[0]))
        for (correct, groups), own in zip(suites, seeds, strict=True)
    ]
    return np.mean(drawn, axis=0)


def interval(replicates: NDArray[np.float64]) -> Interval:
    """Return the central 95 % of bootstrap replicates."""
    low, high = (float(bound) for bound in np.quantile(replicates, (0.025, 0.975)))
    return Interval(low, high, (high - low) / 2)


def resampled_means(means: NDArray[np.float64], replicates: int, source: np.random.Generator) -> NDArray[np.float64]:
    """Return `replicates` means of as many values as there are, drawn with replacement; in the values' own unit."""
    drawn = np.empty(replicates)
    step = max(1, _CELLS // len(means))
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        drawn[start : start + size] = means[source.integers(len(means), size=(size, len(means)))].mean(axis=1)
    return drawn


def _group(means: NDArray[np.float64], replicates: int, source: np.random.Generator) -> NDArray[np.float64]:
    """Return `replicates` means of as many values as there are, drawn with replacement."""
    values, counts = np.unique(means, return_counts=True)
    if len(values) * 4 > len(means):  # nearly all differ, as rubric scores do
        return resampled_means(means, replicates, source)
    drawn = np.empty(replicates)
    step = max(1, _CELLS // len(values))
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        drawn[start : start + size] = source.multinomial(len(means), counts / len(means), size=size) @ values
    return drawn / len(means)
