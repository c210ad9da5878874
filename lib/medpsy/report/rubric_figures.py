"""Figures of open-ended scores: models under each judge, and by theme."""

import pandas as pd

from medpsy.report.display import Figure
from medpsy.report.figures import dots
from medpsy.report.rubric_scores import MAIN, overall


def judge_comparison(
    scores: pd.DataFrame, *, suite: str = MAIN, title: str = "The same responses under each judge"
) -> Figure:
    """Return one row per judge and in it each model's score; `scores` as from `rubric_scores.rubric_scored`."""
    rows = overall(scores, suite)
    return dots(rows.assign(row=rows["judge_label"], hue=rows["label"]), title, {}, {})


def theme_scores(scores: pd.DataFrame, *, judge: str, suite: str = MAIN, title: str = "Scores by theme") -> Figure:
    """Return one row per theme, the whole suite first, and in it each model's score under `judge`.

    Args:
        scores: as `medpsy.report.rubric_scores.rubric_scored` returns it.
    """
    rows = scores[(scores["judge"] == judge) & (scores["suite"] == suite) & (scores["kind"] != "axis")]
    return dots(rows.assign(row=rows["title"], hue=rows["label"]), title, {}, {})
