"""HealthBench scores with margins, leads of models over each other, and bootstrap tables: what tables are made of.

Scores are those of `medpsy.grading.rubric`, in points here. Differences are paired by conversation. Gives no verdict.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from medpsy.benchmarks import OPEN_SUITES
from medpsy.benchmarks.healthbench import AXES, THEMES
from medpsy.grading import rubric
from medpsy.grading.rubric_points import example_scores
from medpsy.report.scores import corrected
from medpsy.study import Study

BY = ["suite", "judge", "model"]
OVERALL = rubric.OVERALL
POINTS = ("score", "margin", "bootstrap_std", "low", "high")
MAIN = "healthbench"  # the suite of the tables that name none
REPLICATES = 1000
TITLES = {OVERALL: "Overall"} | THEMES | AXES


def rubric_scored(study: Study, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the overall score and that of each theme and axis, of every model under every judge.

    Args:
        judged: as `medpsy.open_ended.open_ended` returns it.

    Returns:
        Columns ``suite``, ``suite_title``, ``judge``, ``judge_label``, ``model``, ``label``, ``kind`` (``"overall"``,
        ``"theme"``, ``"axis"``), ``name``, ``title``, ``score``, ``margin`` (95 %, of conversations drawn anew),
        ``bootstrap_std``, ``low``, ``high`` (all in points) and the counts of `medpsy.grading.rubric.RubricScore`.
    """
    found = rubric.scores(judged, by=BY)
    found[list(POINTS)] *= 100
    labels = {name: study.model(name).label for name in {*found["judge"], *found["model"]}}
    return found.assign(
        suite_title=found["suite"].map({key: spec.title for key, spec in OPEN_SUITES.items()}),
        judge_label=found["judge"].map(labels),
        label=found["model"].map(labels),
        title=found["name"].map(TITLES),
    )


def overall(scores: pd.DataFrame, suite: str = MAIN) -> pd.DataFrame:
    """Return the overall scores of one suite among rows of `rubric_scored`."""
    return scores[(scores["kind"] == "overall") & (scores["suite"] == suite)]


def rubric_gaps(study: Study, judged: pd.DataFrame, *, reference: str, suite: str = MAIN) -> pd.DataFrame:
    """Return by how much `reference` leads every other model under each judge, on the same conversations.

    Returns:
        Columns ``judge``, ``judge_label``, ``model``, ``label``, ``difference`` (points), ``margin``, ``p_value`` and
        ``p_holm``, corrected for the number of models under one judge.
    """
    means, rows = conversation_means(judged, suite), []
    for judge in means.columns.get_level_values("judge").unique():
        under = means[judge].dropna()
        others = [name for name in under if name != reference]
        found = [_paired(under[reference], under[name]) for name in others]
        together = corrected(pd.Series([one["p_value"] for one in found]))
        for name, one, p_holm in zip(others, found, together, strict=True):
            about = {"judge": judge, "judge_label": study.model(judge).label, "model": name}
            rows.append(about | {"label": study.model(name).label} | one | {"p_holm": p_holm})
    return pd.DataFrame(rows)


def _paired(first: pd.Series, second: pd.Series) -> dict[str, float]:
    """Return the difference of two models in points, its 95 % margin and p-value, by the paired t-test.

    Two models that score alike on every conversation differ by 0 ± 0; a single conversation gives no margin.
    """
    if len(first) < 2:
        return {"difference": 100 * float((first - second).mean()), "margin": np.nan, "p_value": np.nan}
    if (first == second).all():
        return {"difference": 0.0, "margin": 0.0, "p_value": 1.0}
    test = stats.ttest_rel(first, second)
    low, high = test.confidence_interval(0.95)
    difference, margin = 100 * float((first - second).mean()), 100 * float(high - low) / 2
    return {"difference": difference, "margin": margin, "p_value": float(test.pvalue)}


def conversation_means(judged: pd.DataFrame, suite: str = MAIN) -> pd.DataFrame:
    """Return the example score, mean over runs, as a share: conversation by (judge, model)."""
    examples = example_scores(judged[judged["suite"] == suite], by=BY)
    means = examples.groupby(["conversation_id", "judge", "model"], sort=False)["score"].mean()
    wide = means.unstack(["judge", "model"])
    order = judged[["judge", "model"]].drop_duplicates()
    return wide[pd.MultiIndex.from_frame(order)]


def rubric_tables(
    judged: pd.DataFrame, stands_for: Mapping[str, str], columns: Mapping[str, str], *, seed: int = 0
) -> list[pd.DataFrame]:
    """Return the measured table of overall scores followed by `REPLICATES` bootstrap tables of it.

    Args:
        stands_for: model -> row of a published table.
        columns: judge -> column of that table.

    The same conversations are drawn for every model and judge, so that differences are paired.
    """
    means = conversation_means(judged).dropna()
    count, generator = len(means), np.random.default_rng(seed)
    chosen = [(judge, model) for judge in columns for model in stands_for if (judge, model) in means.columns]
    if not (chosen and count):
        return [pd.DataFrame()]
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=REPLICATES)
    weights = np.vstack([np.ones(count), drawn]) / count
    scores = 100 * np.clip(weights @ means[chosen].to_numpy(), 0.0, 1.0)
    names = pd.MultiIndex.from_tuples([(columns[judge], stands_for[model]) for judge, model in chosen])
    return [pd.Series(row, index=names).unstack(level=0) for row in scores]
