"""Means over open questions with their margins, and differences between checkpoints paired by question.

A response that stayed unjudged is in no mean; a question without any reward is in no difference.
"""

from collections.abc import Sequence
from math import sqrt

import pandas as pd

from medpsy.statistics import PairedDifference, Z, paired_difference
from medpsy.study import RECIPE
from medpsy.training.judge_settings import Judge


def scale(judge: Judge) -> tuple[float, float]:
    """Return the lowest and the highest reward that a conclusion can earn."""
    rewards = (*(tier.reward for tier in judge.tiers), judge.otherwise, judge.no_conclusion)
    return min(rewards), max(rewards)


def step(model: str) -> str:
    """Return the step of a sister recipe that left `model`, e.g. ``"gspo"``; ``"backbone"`` for any other model."""
    made = RECIPE.fullmatch(model)
    return made["step"] if made else "backbone"


def of_step(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows of all checkpoints that step `name` left, whatever their seeds."""
    return rows[rows["model"].map(step) == name]


def per_question(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return the mean of `column` for every question, over models and runs, missing values left out."""
    return rows.dropna(subset=column).groupby("question_id", sort=False)[column].mean()


def mean_margin(rows: pd.DataFrame, column: str) -> tuple[float | None, float | None]:
    """Return the mean of `column` over questions and its 95 % margin, which holds the choice of questions and runs."""
    found = per_question(rows, column)
    if found.empty:
        return None, None
    margin = Z * float(found.std(ddof=1)) / sqrt(len(found)) if len(found) > 1 else None
    return float(found.mean()), margin


def gap(
    first: pd.DataFrame, second: pd.DataFrame, column: str, bounds: Sequence[float] = (0.0, 1.0)
) -> PairedDifference | None:
    """Return `column` of `first` minus that of `second`, paired by question, in points of `bounds`.

    Args:
        bounds: lowest and highest value that `column` can have, 0 and 100 of the points.

    Returns:
        None where fewer than two questions have a value in both.
    """
    low, high = bounds
    pairs = pd.concat([per_question(rows, column) for rows in (first, second)], axis=1, join="inner")
    if len(pairs) < 2:
        return None
    shares = (pairs - low) / (high - low)
    return paired_difference(shares.iloc[:, [0]].to_numpy(), shares.iloc[:, [1]].to_numpy())


def in_units(found: PairedDifference | None, bounds: Sequence[float]) -> tuple[float | None, float | None]:
    """Return a difference and its margin in the units of `bounds` instead of points."""
    if found is None:
        return None, None
    unit = (bounds[1] - bounds[0]) / 100
    return unit * found.difference, unit * found.margin
