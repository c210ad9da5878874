"""Scores with their 95 % margins as tidy frames, one row per model and measure; and what guessing would score.

Where nothing could be measured a number is missing, never zero. Gives no status.
"""

from urllib.parse import urlencode

import numpy as np
import pandas as pd

from medpsy import claims, evaluate, stats
from medpsy.data.healthbench import AXES, THEMES
from medpsy.data.suites import OPEN_SUITES, SUITES
from medpsy.grading import rubric
from medpsy.study import Study

TITLES = {evaluate.AVERAGE: claims.AVERAGE} | {key: spec.title for key, spec in SUITES.items()}
MEASURES = {rubric.OVERALL: "Overall"} | THEMES | AXES


def closed_ended(study: Study, graded: pd.DataFrame, *, published_runs: int = 0) -> pd.DataFrame:
    """Return the score of every model on every suite, and their average first.

    Where the released models are run (profiles review and paper), the margin is that of the score of the whole suite;
    where the miniature stands in, that of all questions of its kind.

    Args:
        graded: as `medpsy.evaluate.closed_ended` returns it.
        published_runs: runs behind published scores of the same suites; the margin is then that of the difference.

    Returns:
        Columns ``model``, ``label``, ``suite``, ``title``, ``score`` and ``margin`` (points), the counts of
        `medpsy.evaluate.scores`, and ``link``: the filter of the responses behind the score.
    """
    scores = evaluate.scores(graded)
    scores["title"] = scores["suite"].map(TITLES)
    replicates = claims.draws(study, graded, published_runs=published_runs).values
    cells = zip(scores["title"], scores["model"], strict=True)
    return scores.assign(
        margin=[float(stats.half_width(replicates[cell][1:])) if cell in replicates else np.nan for cell in cells],
        label=[study.model(name).label for name in scores["model"]],
        link=[
            urlencode({"model": model} if suite == evaluate.AVERAGE else {"model": model, "suite": suite})
            for model, suite in zip(scores["model"], scores["suite"], strict=True)
        ],
    )


def open_ended(study: Study, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the overall score and that of each theme and axis, of every model under every judge.

    Args:
        judged: as `medpsy.judge.open_ended` returns it.

    Returns:
        Columns ``suite``, ``suite_title``, ``judge``, ``judge_label``, ``model``, ``label``, ``kind`` (``"overall"``,
        ``"theme"``, ``"axis"``), ``name``, ``title``, the fields of `medpsy.grading.rubric.scores` (scores and
        margins in points, of conversations drawn anew with all their runs), and ``link`` as of `closed_ended`.
    """
    scores = rubric.scores(judged, by=["suite", "judge", "model"])
    scores[["score", "margin", "bootstrap_std", "low", "high"]] *= 100
    labels = {name: study.model(name).label for name in {*scores["judge"], *scores["model"]}}
    return scores.assign(
        suite_title=scores["suite"].map({key: spec.title for key, spec in OPEN_SUITES.items()}),
        judge_label=scores["judge"].map(labels),
        label=scores["model"].map(labels),
        title=scores["name"].map(MEASURES),
        link=[
            "conversations#" + urlencode({"model": model, "suite": suite})
            for model, suite in zip(scores["model"], scores["suite"], strict=True)
        ],
    )


def chance(study: Study) -> dict[str, float]:
    """Return the score of guessing in points, by title of suite and for the average, weighted as the scores are."""
    levels = {}
    for suite, questions in evaluate.questions(study, every=True).items():
        shares = pd.DataFrame([(one.weight_group, 100 / len(one.options)) for one in questions.values()])
        levels[TITLES[suite]] = float(shares.groupby(0)[1].mean().mean())
    return {claims.AVERAGE: float(np.mean(list(levels.values())))} | levels
