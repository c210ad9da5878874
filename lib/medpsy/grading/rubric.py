"""HealthBench's scores: of an example, overall, by theme and by axis, with the range that missing judgments allow.

Exactly the reference (simple-evals, `healthbench_eval.py`) unless an option of `Scoring` is set. Scores are shares,
unrounded; only `as_published` speaks of points. All take a tidy frame with one row per criterion of each response:
``conversation_id``, ``criterion`` (its place in the rubric), ``points``, ``axis``, ``theme``, ``outcome`` (one of
`OUTCOMES`); where there are any, also ``model``, ``judge``, ``suite``, ``run`` and ``empty`` (the response had no
answer).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medpsy import stats
from medpsy.data.healthbench import AXES, THEMES

MET, NOT_MET, UNJUDGED = "met", "not met", "unjudged"
OUTCOMES = (MET, NOT_MET, UNJUDGED)  # of a criterion
APART = ("model", "judge", "suite")  # a score over several of one of these would be a number of nothing


@dataclass(frozen=True)
class Scoring:
    """Where other implementations leave the reference; all off by default."""

    clip_each_example: bool = False  # every score, whole or of one axis, to 0..1 before any mean: higher on Hard
    clip_each_category: bool = False  # the same for themes and axes alone, not for the overall score
    unjudged_as_not_met: bool = False  # where the points are negative, that raises the score
    empty_as_zero: bool = False  # an empty response scores 0 and has no criteria; the reference judges it


BOUNDED = ["score", "low", "high"]  # what an option clips
REFERENCE = Scoring()
OTHERS = {  # what each option changes can be seen by scoring the same judgments with these
    "inspect_evals": Scoring(clip_each_category=True, unjudged_as_not_met=True, empty_as_zero=True),
    "MARC, openbench": Scoring(clip_each_example=True, unjudged_as_not_met=True),
}


def example_scores(frame: pd.DataFrame, scoring: Scoring = REFERENCE, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row per example (conversation and, where there are any, run), for each group of `by`: ``theme``,
    ``score``, ``low``, ``high``, ``unjudged`` (criteria). The score is the points of all met criteria over the sum of
    the positive points, not clipped (HealthBench, appendix D). An unjudged criterion is left out of both sums; the
    result, which can leave the range that the missing judgments allow, is moved into it: ``low`` (unjudged positive
    criteria not met, negative ones met) to ``high`` (the reverse). An example none of whose positive points was judged
    has no score."""
    shares = _shares(frame, [*_keys(frame, by), "theme"], scoring)
    if scoring.empty_as_zero:
        shares.loc[shares["empty"], BOUNDED] = 0.0
    return _clipped(shares, scoring.clip_each_example).drop(columns=["positive", "empty"])


def _keys(frame: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Return the columns that name an example, after checking that `frame` can be scored by group of `by`."""
    for name in APART:
        if name in frame and name not in by and frame[name].nunique(dropna=False) > 1:
            raise ValueError(f"rows of several values of {name!r} cannot be one score; add {name!r} to `by`")
    if (strange := ~frame["outcome"].isin(OUTCOMES)).any():
        raise ValueError(f"outcome {frame.loc[strange, 'outcome'].iloc[0]!r} is none of {', '.join(OUTCOMES)}")
    keys = [*dict.fromkeys([*by, *(["run"] if "run" in frame else []), "conversation_id"])]
    if (twice := frame.duplicated([*keys, "criterion"])).any():
        row = frame.loc[twice, [*keys, "criterion"]].iloc[0].to_dict()
        raise ValueError(f"two rows for {row}; remove one, or name in `by` the column that tells them apart")
    return keys


def _shares(frame: pd.DataFrame, keys: list[str], scoring: Scoring) -> pd.DataFrame:
    """Return sums and shares of points for each combination of `keys`, in order of appearance."""
    points, outcome = frame["points"].to_numpy(float), frame["outcome"].to_numpy()
    missing = (outcome == UNJUDGED) & (not scoring.unjudged_as_not_met)
    met, positive = np.where(outcome == MET, points, 0.0), np.maximum(points, 0.0)
    parts = {
        "met": met,
        "positive": positive,
        "judged": np.where(missing, 0.0, positive),
        "low": met + np.where(missing, np.minimum(points, 0.0), 0.0),
        "high": met + np.where(missing, positive, 0.0),
        "unjudged": (outcome == UNJUDGED).astype(int),
        "empty": frame["empty"].to_numpy(bool) if "empty" in frame else False,
    }
    sums = frame[keys].assign(**parts).groupby(keys, sort=False, dropna=False).sum().reset_index()
    low, high = (sums[name] / sums["positive"].where(sums["positive"] > 0) for name in ("low", "high"))
    score = (sums["met"] / sums["judged"].where(sums["judged"] > 0)).clip(low, high)
    return sums.drop(columns=["met", "judged"]).assign(score=score, low=low, high=high, empty=sums["empty"] > 0)


def _clipped(shares: pd.DataFrame, clip: bool) -> pd.DataFrame:
    return shares.assign(**{name: shares[name].clip(0.0, 1.0) for name in BOUNDED}) if clip else shares


OVERALL = "overall"
ORDER = [OVERALL, *THEMES, *AXES]  # of the rows of `scores`
NUMBERS = ["score", "bootstrap_std", "margin", "n", "skipped", "unjudged", "low", "high"]


def scores(
    frame: pd.DataFrame, scoring: Scoring = REFERENCE, *, by: Sequence[str] = (), seed: int = 0, replicates: int = 1000
) -> pd.DataFrame:
    """Return the overall score and that of each theme and axis, for each group of `by`, which must name every column of
    `APART` that has several values. A theme's score is the mean of whole-example scores of its examples, an axis' the
    mean over examples that have positive points on it; several runs of a conversation are averaged first. Columns of
    `by`, ``kind`` (``"overall"``, ``"theme"`` or ``"axis"``), ``name``, and `NUMBERS`: ``score``, a mean clipped to
    0..1; ``bootstrap_std`` of the clipped means of conversations drawn anew with all their runs (`replicates` times:
    1000 as the reference, or 0), and ``margin``, half the width of their central 95 %; ``n`` conversations scored,
    ``skipped`` those none of whose positive points was judged; ``unjudged`` criteria; ``low`` and ``high``, the score
    with every unjudged criterion decided against or for the response, over all conversations: ``score`` is moved
    between them where it left them."""
    keys, whole = [*by, "kind", "name"], example_scores(frame, scoring, by=by)
    themed = _clipped(whole, scoring.clip_each_category)
    axes = _shares(frame, [*_keys(frame, by), "theme", "axis"], scoring)  # the same formula on an axis' criteria alone
    axes = axes[(axes["positive"] > 0) & ~(axes["empty"] & scoring.empty_as_zero)]
    axes = _clipped(axes, scoring.clip_each_example or scoring.clip_each_category)
    examples = [
        whole.assign(kind="overall", name=OVERALL),
        themed.assign(kind="theme", name=themed["theme"]),
        axes.assign(kind="axis", name=axes["axis"]),
    ]
    examples = pd.concat(examples, ignore_index=True)
    per_conversation = examples.groupby([*keys, "conversation_id"], sort=False, dropna=False)
    means = per_conversation[["score", "low", "high"]].mean().assign(unjudged=per_conversation["unjudged"].sum())
    groups = means.groupby(level=keys, sort=False, dropna=False)
    rows = [dict(zip(keys, names, strict=True)) | _summary(group, seed, replicates) for names, group in groups]
    table = pd.DataFrame(rows, columns=[*keys, *NUMBERS])
    order = table["name"].map(ORDER.index)
    if by:
        order += len(ORDER) * table.groupby(list(by), sort=False, dropna=False).ngroup()
    return table.iloc[order.argsort()].reset_index(drop=True)


def _summary(means: pd.DataFrame, seed: int, replicates: int) -> dict[str, float]:
    """Return `NUMBERS` of `means`: a row per conversation, its runs averaged."""
    score, low, high, unjudged = (means[name].to_numpy() for name in ("score", "low", "high", "unjudged"))
    scored = score[~np.isnan(score)]
    low, high = (np.clip(pd.Series(bound).mean(), 0.0, 1.0) for bound in (low, high))
    std = margin = np.nan
    if len(scored) > 1 and replicates:
        drawn = stats.bootstrap_mean(scored, replicates, seed).clip(0.0, 1.0)
        std, margin = float(drawn.std()), float(stats.half_width(drawn))
    return {
        "score": float(np.clip(scored.mean(), low, high)) if len(scored) else np.nan,
        "bootstrap_std": std,
        "margin": margin,
        "n": len(scored),
        "skipped": len(means) - len(scored),
        "unjudged": int(unjudged.sum()),
        "low": float(low),
        "high": float(high),
    }


def as_published(frame: pd.DataFrame, scoring: Scoring = REFERENCE, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return the scores as the report seems to print them, multiples of 1/3: each run rounded to a whole point, then
    the mean of ``runs``, in ``points`` (missing where a run has no score), by ``kind`` and ``name``."""
    frame = frame if "run" in frame else frame.assign(run=0)
    keys = [*[name for name in by if name != "run"], "kind", "name"]
    each = scores(frame, scoring, by=[*keys[:-2], "run"], replicates=0)
    # Halves go up, and the last digits of a float do not decide what is a half.
    each["points"] = np.floor((100 * each["score"]).round(9) + 0.5)
    runs = each.groupby(keys, sort=False, dropna=False)["points"]
    return runs.agg(points=lambda points: points.mean(skipna=False), runs="size").reset_index()
