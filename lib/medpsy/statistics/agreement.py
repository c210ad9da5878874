"""Do judges agree: with each other on single criteria, with each other on the order of models, with physicians.

Labels may be of any kind that can be compared; None and NaN are missing. Every measure is a number between -1 and 1
(F1: 0 and 1), not points, and None where the data cannot say, e.g. if all labels are one.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def cohen_kappa(first: Sequence, second: Sequence) -> float | None:
    """Return the agreement of two raters beyond chance; items that either of them left out are left out.

    Cohen, Educational and Psychological Measurement 20, 1960: (observed - expected) / (1 - expected).
    """
    codes, kinds = _complete(np.column_stack([_objects(first), _objects(second)]))
    if not len(codes):
        return None
    shares = np.stack([np.bincount(column, minlength=kinds) for column in codes.T]) / len(codes)
    return _beyond_chance(float(np.mean(codes[:, 0] == codes[:, 1])), float(shares[0] @ shares[1]))


def fleiss_kappa(ratings: Sequence[Sequence]) -> float | None:
    """Return the agreement of two or more raters beyond chance, from one row of labels per item.

    Fleiss, Psychological Bulletin 76, 1971. It wants as many ratings of every item, so items that any rater left out
    are left out.
    """
    rows = [_objects(row) for row in ratings]
    if len({len(row) for row in rows}) > 1 or (rows and len(rows[0]) < 2):
        raise ValueError("every item needs one label (or None) of each rater, and there must be two raters at least")
    codes, kinds = _complete(np.array(rows, dtype=object))
    if not len(codes):
        return None
    counts = np.stack([np.bincount(row, minlength=kinds) for row in codes])
    raters = codes.shape[1]
    observed = float(((counts**2).sum(axis=1) - raters).mean() / (raters * (raters - 1)))
    return _beyond_chance(observed, float(((counts.sum(axis=0) / counts.sum()) ** 2).sum()))


def macro_f1(labels: Sequence, predictions: Sequence) -> float | None:
    """Return the plain mean of F1 over the kinds of label that occur on either side; missing pairs are left out.

    HealthBench measures judges so: every physician's label is one item, met and not met count equally (its section on
    meta-evaluation; `medpsy.benchmarks.healthbench_meta.physician_pairs` makes the two lists).
    """
    codes, kinds = _complete(np.column_stack([_objects(labels), _objects(predictions)]))
    if not len(codes):
        return None
    both = np.bincount(codes[codes[:, 0] == codes[:, 1], 0], minlength=kinds)
    either = np.bincount(codes.ravel(), minlength=kinds)  # 2 TP + FP + FN
    return float(np.mean(2 * both / either))


def rank_correlations(scores: pd.DataFrame) -> pd.DataFrame:
    """Return how alike two judges order the models, for each pair of judges.

    Spearman's rho and Kendall's tau-b (both of `scipy.stats`, ties averaged), over the models that both judges scored.

    Args:
        scores: one row per model, one column per judge.

    Returns:
        Columns ``first``, ``second``, ``models``, ``spearman``, ``kendall``; the last two are missing for fewer than
        two models, or where a judge scores all of them alike.
    """
    from scipy import stats  # late: takes a second to import

    rows = []
    for first, second in combinations(scores.columns, 2):
        pair = scores[[first, second]].dropna()
        told = len(pair) > 1 and (pair.nunique() > 1).all()
        rho = stats.spearmanr(pair[first], pair[second]).statistic if told else np.nan
        tau = stats.kendalltau(pair[first], pair[second]).statistic if told else np.nan
        rows.append((first, second, len(pair), float(rho), float(tau)))
    return pd.DataFrame(rows, columns=["first", "second", "models", "spearman", "kendall"])


def _objects(values: Sequence) -> NDArray:
    """Return `values` as they are: numpy would turn True and None into numbers or text."""
    plain = np.empty(len(values), dtype=object)
    plain[:] = list(values)
    return plain


def _complete(table: NDArray) -> tuple[NDArray[np.intp], int]:
    """Return the rows of `table` without missing labels, each label as a whole number, and how many kinds there are."""
    table = table[~pd.isna(table).any(axis=1)] if table.size else table.reshape(0, 2)
    codes, kinds = pd.factorize(table.ravel())
    return codes.reshape(table.shape), len(kinds)


def _beyond_chance(observed: float, expected: float) -> float | None:
    return None if expected >= 1 else (observed - expected) / (1 - expected)
