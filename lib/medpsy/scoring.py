"""Scores and leads with their 95 % margins as tidy frames, and what guessing would score.

Where nothing could be measured a number is missing, never zero. Gives no status.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from urllib.parse import urlencode

import numpy as np
import pandas as pd

from medpsy import claims, evaluate, stats
from medpsy.data.healthbench import AXES, THEMES
from medpsy.data.suites import OPEN_SUITES, SUITES
from medpsy.grading import rubric
from medpsy.grading.readers import NO_GOLD, OUTCOMES
from medpsy.study import Study

AVERAGE = "average"  # stands where a suite's key does
COUNTS = ["responses", *OUTCOMES, NO_GOLD]
TITLES = {AVERAGE: claims.AVERAGE} | {key: spec.title for key, spec in SUITES.items()}
MEASURES = {rubric.OVERALL: "Overall"} | THEMES | AXES


def closed_ended(study: Study, graded: pd.DataFrame, replicates: claims.Draws | None = None) -> pd.DataFrame:
    """Return the score of every model on every suite, and their average (report 4.1.1: the plain mean) first.
    Unreadable and cut off responses count as not correct, failed ones do not count. A score is missing where one of its
    weight groups, or of the average one of the seven suites, has none. `replicates` are of the same responses, as
    `medpsy.claims.draws` returns them; by default drawn here, with the margins of the scores themselves, not of their
    difference from published ones. Returns ``model``, ``label``, ``suite``, ``title``, ``score`` and ``margin``
    (points), ``questions`` (with a key), ``responses`` (to them), one count per outcome, ``no gold``, and ``link``: the
    filter of what is behind it."""
    values = (replicates or claims.draws(study, graded, published_runs=0)).values
    unit = ["model", "suite"]
    counts = pd.crosstab([graded["model"], graded["suite"]], graded["outcome"]).reindex(columns=COUNTS, fill_value=0)
    counts["responses"] = counts[list(OUTCOMES)].sum(axis=1)
    counts["questions"] = graded[graded["gold"].notna()].groupby(unit)["question_id"].nunique()
    whole = pd.concat({AVERAGE: counts.groupby("model").sum()}, names=["suite"]).swaplevel()
    counts = pd.concat([counts, whole]).fillna({"questions": 0}).astype(int)
    order = pd.MultiIndex.from_product([graded["model"].unique(), TITLES], names=unit)
    table = counts.loc[order[order.isin(counts.index)]].reset_index()
    table["title"] = table["suite"].map(TITLES)
    drawn = [values.get(cell, np.full(2, np.nan)) for cell in zip(table["title"], table["model"], strict=True)]
    filters = table[["model", "suite"]].to_dict("records")
    return table.assign(
        score=[scores[0] for scores in drawn],
        margin=[float(stats.half_width(scores[1:])) for scores in drawn],
        label=table["model"].map(lambda name: study.model(name).label),
        link=[urlencode({key: name for key, name in each.items() if name != AVERAGE}) for each in filters],
    )


def open_ended(study: Study, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of `medpsy.grading.rubric.scores` in points, of every model under every judge of
    `medpsy.judge.open_ended`, with ``suite_title``, ``judge_label``, ``label``, ``title`` and ``link``."""
    scores = rubric.scores(judged, by=["suite", "judge", "model"])
    scores[["score", "margin", "bootstrap_std", "low", "high"]] *= 100
    labels = {name: study.model(name).label for name in {*scores["judge"], *scores["model"]}}
    return scores.assign(
        suite_title=scores["suite"].map({key: spec.title for key, spec in OPEN_SUITES.items()}),
        judge_label=scores["judge"].map(labels),
        label=scores["model"].map(labels),
        title=scores["name"].map(MEASURES),
        link=["conversations#" + urlencode(each) for each in scores[["model", "suite"]].to_dict("records")],
    ).astype(dict.fromkeys(("suite_title", "judge_label", "label", "title"), str))  # where nothing is judged, too


def leads(study: Study, replicates: claims.Draws, models: Sequence[str], measures: Mapping[str, str]) -> pd.DataFrame:
    """Return the lead of the first of `models` over each other one: the difference of two columns of replicates, and so
    paired. `measures` are title of a column -> measure; there is a row only where both models were measured: ``model``
    (the other), ``title``, ``label``, ``score`` (of the lead), ``margin``, ``p``, and ``p_holm`` for the leads under
    one title."""
    first, *others = models
    rows = []
    for other, (title, measure) in product(others, measures.items()):
        if {(measure, first), (measure, other)} <= replicates.values.keys():
            lead = replicates.lead(first, other, measure)
            label = f"Δ {study.model(first).label} − {study.model(other).label}"
            margin, p = float(stats.half_width(lead[1:])), stats.p_value(lead[0], lead[1:])
            rows.append((other, title, label, lead[0], margin, p))
    table = pd.DataFrame(rows, columns=["model", "title", "label", "score", "margin", "p"])
    return table.assign(p_holm=table.groupby("title")["p"].transform(stats.holm))


def chance(study: Study) -> dict[str, float]:
    """Return the score of guessing in points, by title of suite and for the average, weighted as the scores are."""
    levels = {}
    for suite, questions in evaluate.questions(study, every=True).items():
        shares = pd.DataFrame([(item.weight_group, 100 / len(item.options)) for item in questions.values()])
        levels[TITLES[suite]] = float(shares.groupby(0)[1].mean().mean())
    return {claims.AVERAGE: float(np.mean(list(levels.values())))} | levels
