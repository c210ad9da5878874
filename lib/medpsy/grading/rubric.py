"""HealthBench's scores: overall, by theme and by axis, with their bootstrap and the range that missing verdicts allow.

Exactly the reference (simple-evals, `healthbench_eval.py`) unless an option of `Scoring` is set. Scores are shares,
unrounded; only `as_published` speaks of points. The frame of criteria is described in `medpsy.grading.rubric_points`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd

from medpsy.benchmarks.healthbench import AXES, THEMES
from medpsy.grading.rubric_points import OTHERS, REFERENCE, Scoring, axis_scores, example_scores
from medpsy.statistics.bootstrap import interval, resampled_means

__all__ = [
    "OTHERS", "REFERENCE", "RubricScore", "Scoring", "as_published", "axis_scores", "example_scores", "scores",
    "summary",
]  # fmt: skip

OVERALL = "overall"
REPLICATES = 1000  # as the reference


@dataclass(frozen=True)
class RubricScore:
    """The mean of example scores, as a share.

    Args:
        score: clipped to 0..1; missing where no example could be scored.
        bootstrap_std: standard deviation of the clipped means of resampled conversations; `margin` is half the width
            of their central 95 %. Both are missing for a single conversation, which has no spread.
        n: conversations scored; `skipped` are those none of whose positive points was judged.
        unjudged: criteria without a verdict.
        low, high: the score with every unjudged criterion decided against or for the response, by the sign of its
            points, over all conversations; `score` is moved between them where it left them.
    """

    score: float
    bootstrap_std: float
    margin: float
    n: int
    skipped: int
    unjudged: int
    low: float
    high: float


def scores(
    frame: pd.DataFrame,
    scoring: Scoring = REFERENCE,
    *,
    by: Sequence[str] = (),
    seed: int = 0,
    replicates: int = REPLICATES,
) -> pd.DataFrame:
    """Return the overall score and that of each theme and axis, for each group of `by`.

    A theme's score is the mean of whole-example scores of its examples, an axis' the mean over examples that have
    positive points on it. Several runs of a conversation are averaged first.

    Args:
        frame: one row per criterion; see `medpsy.grading.rubric_points`.
        by: columns to keep apart, e.g. ``["model", "judge"]``; needed where one of them has several values.
        replicates: of the bootstrap, which resamples conversations with all their runs; 0 leaves it out.

    Returns:
        Columns of `by`, ``kind`` (``"overall"``, ``"theme"`` or ``"axis"``), ``name``, and those of `RubricScore`.
    """
    by, rows = list(by), []
    axes = {names: group for names, group in _groups(axis_scores(frame, scoring, by=by), by)}
    for names, whole in _groups(example_scores(frame, scoring, by=by), by):
        own = dict(zip(by, names, strict=True))
        for kind, name, examples in _measures(whole, axes.get(names), scoring):
            found = summary(examples, scoring, seed=seed, replicates=replicates)
            rows.append({**own, "kind": kind, "name": name, **asdict(found)})
    return pd.DataFrame(rows, columns=[*by, "kind", "name", *RubricScore.__dataclass_fields__])


def summary(
    examples: pd.DataFrame, scoring: Scoring = REFERENCE, *, seed: int = 0, replicates: int = REPLICATES
) -> RubricScore:
    """Return the score of `examples`: rows of `example_scores`, or of `axis_scores` with one axis."""
    means = examples.groupby("conversation_id", sort=False)[["score", "low", "high"]].mean()
    scored = means["score"].dropna().to_numpy()
    low, high = (_clipped(means[name].mean(), scoring) for name in ("low", "high"))
    score = float(np.clip(_clipped(scored.mean(), scoring), low, high)) if len(scored) else np.nan
    std = margin = np.nan
    if len(scored) > 1 and replicates:
        drawn = _clipped(resampled_means(scored, replicates, np.random.default_rng(seed)), scoring)
        std, margin = float(drawn.std()), interval(drawn).margin
    skipped, unjudged = len(means) - len(scored), int(examples["unjudged"].sum())
    return RubricScore(score, std, margin, len(scored), skipped, unjudged, float(low), float(high))


def as_published(frame: pd.DataFrame, scoring: Scoring = REFERENCE, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return the scores as the report seems to print them: each run rounded to a whole point, then the mean of runs.

    That the report rounds so is read off its tables, where all values are multiples of 1/3.

    Returns:
        Columns of `by`, ``kind``, ``name``, ``points`` (0 to 100; missing where a run has no score), ``runs``.
    """
    frame = frame if "run" in frame else frame.assign(run=0)
    keys = [*[name for name in by if name != "run"], "kind", "name"]
    each = scores(frame, scoring, by=[*keys[:-2], "run"], replicates=0)
    each["points"] = [half_up(100 * score) for score in each["score"]]
    found = each.groupby(keys, sort=False, dropna=False)["points"]
    return found.agg(points=lambda one: one.mean(skipna=False), runs="size").reset_index()


def half_up(points: float) -> float:
    """Return `points` rounded to a whole point, halves up; the last digits of a float do not decide what is a half."""
    if np.isnan(points):
        return np.nan
    return float(Decimal(f"{points:.9f}").quantize(Decimal(1), rounding=ROUND_HALF_UP))


def _measures(
    whole: pd.DataFrame, axes: pd.DataFrame | None, scoring: Scoring
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield kind, name and examples of everything that is scored."""
    yield "overall", OVERALL, whole
    themed = whole
    if scoring.clip_each_category:
        themed = whole.assign(**{name: whole[name].clip(0.0, 1.0) for name in ("score", "low", "high")})
    for name in _ordered(whole["theme"].unique(), THEMES):
        yield "theme", name, themed[themed["theme"] == name]
    for name in _ordered(axes["axis"].unique() if axes is not None else (), AXES):
        yield "axis", name, axes[axes["axis"] == name]


def _ordered(found: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return what was found in the order of `known`, strangers last."""
    found = list(found)
    return [*[name for name in known if name in found], *[name for name in found if name not in known]]


def _groups(frame: pd.DataFrame, by: list[str]) -> Iterable[tuple[tuple, pd.DataFrame]]:
    return frame.groupby(by, sort=False, dropna=False) if by else [((), frame)]


def _clipped(mean: float | np.ndarray, scoring: Scoring) -> float | np.ndarray:
    return mean if scoring.unclipped_mean else np.clip(mean, 0.0, 1.0)
