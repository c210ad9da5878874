"""From verdicts on criteria to one score per example, as the reference implementation of HealthBench defines it.

Works on a tidy frame with one row per criterion of each response:
``conversation_id``, ``criterion`` (its place in the rubric), ``points``, ``axis``, ``theme``, ``outcome`` (``"met"``,
``"not met"`` or ``"unjudged"``); where there are any, also ``model``, ``judge``, ``suite``, ``run`` and ``empty`` (the
response had no answer). Refuses to mix models, judges or suites, and never takes an unjudged criterion for an unmet one
unless told to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medpsy.grading.verdicts import MET, OUTCOMES, UNJUDGED

NEEDED = ("conversation_id", "criterion", "points", "axis", "theme", "outcome")
APART = ("model", "judge", "suite")  # a score over several of one of these would be a number of nothing


@dataclass(frozen=True)
class Scoring:
    """Where other implementations leave the reference (simple-evals, `healthbench_eval.py`); all off by default.

    Args:
        clip_each_example: every example's score, whole or of one axis, is clipped to 0..1 before any mean (MARC,
            openbench): higher scores, above all on Hard.
        clip_each_category: the same for themes and axes alone, not for the overall score (inspect_evals).
        unclipped_mean: the mean itself is not clipped (inspect_evals' `healthbench_score`).
        unjudged_as_not_met: a criterion without a verdict counts as not met (inspect_evals, MARC, openbench); where
            its points are negative, that raises the score.
        empty_as_zero: an empty response scores 0 and has no criteria (inspect_evals); the reference judges it.
    """

    clip_each_example: bool = False
    clip_each_category: bool = False
    unclipped_mean: bool = False
    unjudged_as_not_met: bool = False
    empty_as_zero: bool = False


REFERENCE = Scoring()
OTHERS = {  # what each option changes can be seen by scoring the same verdicts with these
    "inspect_evals": Scoring(clip_each_category=True, unjudged_as_not_met=True, empty_as_zero=True),
    "MARC, openbench": Scoring(clip_each_example=True, unjudged_as_not_met=True),
}


def example_scores(frame: pd.DataFrame, scoring: Scoring = REFERENCE, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row per example (conversation and, where there are any, run), for each group of `by`.

    The score is the sum of the points of all met criteria over the sum of the positive points, as a share, not clipped
    (HealthBench, appendix D). An unjudged criterion is left out of both sums; the result is then moved into the range
    that the missing verdicts allow, ``low`` (unjudged positive criteria not met, negative ones met) to ``high`` (the
    reverse), which it can leave because the sum below has shrunk. An example none of whose positive points was judged
    has no score.

    Returns:
        Columns of `by`, ``run`` (if given), ``conversation_id``, ``theme``, ``score`` (missing where there is none),
        ``low``, ``high``, ``unjudged`` (criteria).

    Raises:
        ValueError: what is wrong with the frame.
    """
    keys = checked(frame, by)
    found = _shares(frame, [*keys, "theme"], scoring)
    if found.duplicated(keys).any():
        raise ValueError(
            f"conversation {found.loc[found.duplicated(keys), 'conversation_id'].iloc[0]!r} has two themes"
        )
    if (found["positive"] <= 0).any():
        name = found.loc[found["positive"] <= 0, "conversation_id"].iloc[0]
        raise ValueError(f"conversation {name!r} has no positive points, so there is nothing to score against")
    if scoring.empty_as_zero:
        found.loc[found["empty"], ["score", "low", "high"]] = 0.0
    return _clipped(found, scoring.clip_each_example).drop(columns=["positive", "empty"])


def axis_scores(frame: pd.DataFrame, scoring: Scoring = REFERENCE, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row per example and axis: the same formula on the criteria of that axis alone.

    An example without positive points on an axis is left out of it. Columns as in `example_scores`, and ``axis``.
    """
    keys = checked(frame, by)
    found = _shares(frame, [*keys, "theme", "axis"], scoring)
    found = found[(found["positive"] > 0) & ~(found["empty"] & scoring.empty_as_zero)]
    clip = scoring.clip_each_example or scoring.clip_each_category
    return _clipped(found, clip).drop(columns=["positive", "empty"]).reset_index(drop=True)


def checked(frame: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Return the columns that name an example, after checking that `frame` can be scored by group of `by`."""
    if missing := [name for name in (*NEEDED, *by) if name not in frame]:
        raise ValueError(f"column {missing[0]!r} is missing; there are {', '.join(frame.columns)}")
    for name in APART:
        if name in frame and name not in by and frame[name].nunique(dropna=False) > 1:
            raise ValueError(f"rows of several values of {name!r} cannot be one score; add {name!r} to `by`")
    if not (known := frame["outcome"].isin(OUTCOMES)).all():
        raise ValueError(f"outcome {frame.loc[~known, 'outcome'].iloc[0]!r} is none of {', '.join(OUTCOMES)}")
    points = frame["points"].to_numpy(float)
    if not np.isfinite(points).all() or (points == 0).any():
        raise ValueError("points must be numbers other than 0")
    keys = [*dict.fromkeys([*by, *(["run"] if "run" in frame else []), "conversation_id"])]
    if (twice := frame.duplicated([*keys, "criterion"])).any():
        row = frame.loc[twice, [*keys, "criterion"]].iloc[0].to_dict()
        raise ValueError(f"two rows for {row}; remove one, or name in `by` the column that tells them apart")
    return keys


def _shares(frame: pd.DataFrame, keys: list[str], scoring: Scoring) -> pd.DataFrame:
    """Return sums and shares of points for each combination of `keys`, in order of appearance."""
    points, outcome = frame["points"].to_numpy(float), frame["outcome"]
    unjudged = (outcome == UNJUDGED).to_numpy(bool)
    missing = unjudged & (not scoring.unjudged_as_not_met)
    met, positive = np.where(outcome == MET, points, 0.0), np.maximum(points, 0.0)
    sums = pd.DataFrame(
        {
            "met": met,
            "positive": positive,
            "judged": np.where(missing, 0.0, positive),
            "low": met + np.where(missing, np.minimum(points, 0.0), 0.0),
            "high": met + np.where(missing, positive, 0.0),
            "unjudged": unjudged.astype(int),
            "empty": frame["empty"].to_numpy(bool) if "empty" in frame else False,
        }
    )
    names = [frame[name].set_axis(sums.index) for name in keys]
    sums = sums.groupby(names, sort=False, dropna=False).sum().reset_index()
    bounds = sums[["low", "high"]].div(sums["positive"].where(sums["positive"] > 0), axis=0)
    score = (sums["met"] / sums["judged"].where(sums["judged"] > 0)).clip(bounds["low"], bounds["high"])
    found = sums[[*keys, "positive"]].assign(score=score, low=bounds["low"], high=bounds["high"])
    return found.assign(unjudged=sums["unjudged"], empty=sums["empty"] > 0)


def _clipped(found: pd.DataFrame, clip: bool) -> pd.DataFrame:
    names = ["score", "low", "high"]
    return found.assign(**{name: found[name].clip(0.0, 1.0) for name in names}) if clip else found
