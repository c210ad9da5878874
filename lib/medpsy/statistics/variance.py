"""Where the noise of a score comes from: which questions were asked, and how each run happened to go.

Both are variances of a share (0 to 1), not of points. Refuses arrays whose shape it has to guess.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST = 0.25  # variance of a 0/1 outcome at a share of one half: the bound where nothing can be estimated


@dataclass(frozen=True)
class Variances:
    """Variance of one question's share of correct runs.

    Args:
        between: over questions, of their true share. It vanishes when all questions of a suite are asked.
        within: over runs of one question, averaged over questions. It never vanishes, only shrinks with more runs.
    """

    between: float
    within: float


def as_matrix(correct: ArrayLike) -> NDArray[np.float64]:
    """Return `correct` as [questions, runs] with values 0 to 1; a list of questions is one run.

    Raises:
        ValueError: another shape, nothing in it, or a value that is missing or outside 0 to 1.
    """
    matrix = np.asarray(correct, dtype=np.float64)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"shape {matrix.shape}; one row per question and one column per run are needed")
    if not (np.all(matrix >= 0) and np.all(matrix <= 1)):
        raise ValueError("values must lie between 0 (wrong) and 1 (correct), none missing")
    return matrix


def group_rows(groups: Sequence | None, questions: int) -> dict[object, NDArray[np.intp]]:
    """Return the row numbers of each weight group; without `groups` all rows are one group called None."""
    if groups is None:
        return {None: np.arange(questions)}
    labels = np.asarray(groups, dtype=object)
    if labels.shape != (questions,):
        raise ValueError(f"{labels.size} group labels for {questions} questions")
    rows: dict[object, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return {label: np.array(numbers) for label, numbers in rows.items()}


def question_variances(correct: ArrayLike, *, groups: Sequence | None = None) -> Variances:
    """Estimate both variances from [questions, runs] of 0/1 outcomes.

    Analysis of variance of a balanced one-way random-effects layout (Searle, Casella, McCulloch, Variance Components,
    1992, 3.3): the run variance is the mean over questions of the variance over runs (divisor runs - 1), and the
    variance of the question means is between + within / runs. With one run the two cannot be told apart; all of the
    spread is then taken as run noise, its upper bound. Where all outcomes are equal, two successes and two failures
    are added first (Agresti and Coull, The American Statistician 52, 1998), so that no margin is ever zero.

    Args:
        groups: weight group of each question; the result is the plain mean over groups.
    """
    matrix = as_matrix(correct)
    found = [_one_group(matrix[rows]) for rows in group_rows(groups, len(matrix)).values()]
    return Variances(float(np.mean([v.between for v in found])), float(np.mean([v.within for v in found])))


def _one_group(matrix: NDArray[np.float64]) -> Variances:
    questions, runs = matrix.shape
    within = float(matrix.var(axis=1, ddof=1).mean()) if runs > 1 else None
    if questions == 1:
        return Variances(0.0 if within is None else LARGEST, LARGEST if within is None else within)
    if np.ptp(matrix) == 0:
        share = matrix.flat[0]
        return Variances(0.0 if within is None else _added(share, questions), _added(share, questions * runs))
    spread = float(matrix.mean(axis=1).var(ddof=1))
    return Variances(0.0, spread) if within is None else Variances(max(spread - within / runs, 0.0), within)


def _added(share: float, count: int) -> float:
    """Return the variance of a share after adding two successes and two failures to `count` outcomes."""
    share = (share * count + 2) / (count + 4)
    return share * (1 - share)
