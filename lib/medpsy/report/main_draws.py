"""The main results drawn together: suites, HealthBench and its themes under every judge, on the same bootstrap samples.

HealthBench Hard is part of HealthBench, so both are scored on the same drawn conversations: what is said of the
widening of a lead from one to the other needs that. Gives no verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medpsy.benchmarks import OPEN_SUITES
from medpsy.benchmarks.healthbench import THEMES
from medpsy.report.remeasured import REPLICATES, score_tables
from medpsy.report.rubric_scores import OVERALL, TITLES, conversation_means
from medpsy.report.scores import TITLES as SUITE_NAMES
from medpsy.report.scores import keyed
from medpsy.scoring import AVERAGE

CLOSED = "closed-ended"  # the part of all suites of questions, beside the open suites
WHOLE = TITLES[OVERALL]
AVERAGE_TITLE = SUITE_NAMES[AVERAGE]


class Measure(NamedTuple):
    """What is scored: a suite or ``"Average"``; or, of an open suite under one judge, ``"Overall"`` or a theme."""

    title: str
    part: str = CLOSED  # or the key of an open suite
    judge: str = ""


@dataclass(frozen=True)
class MainDraws:
    """Scores in points, [1 + replicates, models, measures]: the measured ones, then bootstrap samples.

    Args:
        asked: one row per response: ``model``, ``part`` (see `Measure`), ``group`` (title of a suite, or of a theme),
            ``id``, ``run``, ``completion_tokens``.
    """

    values: NDArray[np.float64]
    models: list[str]
    measures: list[Measure]
    asked: pd.DataFrame

    def of(self, model: str, measure: Measure) -> NDArray[np.float64]:
        """Return the scores of one model on one measure, [1 + replicates]."""
        return self.values[:, self.models.index(model), self.measures.index(measure)]

    def lead(self, first: str, second: str, measure: Measure) -> NDArray[np.float64]:
        """Return by how much `first` is above `second`, [1 + replicates]."""
        return self.of(first, measure) - self.of(second, measure)

    def behind(self, measures: Sequence[Measure], models: Sequence[str]) -> pd.DataFrame:
        """Return the rows of `asked` behind scores of `models`."""
        wanted = pd.Series(False, index=self.asked.index)
        for part, title in {(measure.part, measure.title) for measure in measures}:
            group = title in (WHOLE, AVERAGE_TITLE) or self.asked["group"] == title
            wanted |= (self.asked["part"] == part) & group
        return self.asked[wanted & self.asked["model"].isin(list(models))]

    def questions(self, measures: Sequence[Measure], models: Sequence[str]) -> int:
        """Return how many questions or conversations are behind them: of several parts, those of the smallest."""
        rows = self.behind(measures, models).drop_duplicates(["part", "group", "id"])
        return int(rows.groupby("part").size().min())


def main_draws(graded: pd.DataFrame, judged: pd.DataFrame, *, seed: int = 0) -> MainDraws:
    """Return the scores of all models on all measures, drawn together.

    Args:
        graded: as `medpsy.evaluate.closed_ended` returns it.
        judged: as `medpsy.open_ended.open_ended` returns it, of the same models; those left out have missing scores.
    """
    models = list(graded["model"].unique())
    tables = score_tables(graded, {name: name for name in models}, seed=seed)
    closed = np.stack([one.loc[models].to_numpy() for one in tables])
    values, measures = _open(judged, models, np.random.default_rng(seed))
    measures = [*map(Measure, tables[0].columns), *measures]
    return MainDraws(np.concatenate([closed, *values], axis=2), models, measures, _asked(graded, judged))


def _open(
    judged: pd.DataFrame, models: list[str], generator: np.random.Generator
) -> tuple[list[NDArray[np.float64]], list[Measure]]:
    """Return scores [1 + replicates, models, 1] of every open measure.

    Weights are those of the Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981): none is ever zero, so that a
    theme with few conversations has a score in every sample.
    """
    themes = judged.drop_duplicates("conversation_id").set_index("conversation_id")["theme"].map(THEMES)
    weights = pd.DataFrame(
        np.vstack([np.ones(len(themes)), generator.exponential(size=(REPLICATES, len(themes)))]), columns=themes.index
    )
    values, measures = [], []
    for part in [key for key in OPEN_SUITES if key in set(judged["suite"])]:
        means = conversation_means(judged, part).dropna()
        groups = {WHOLE: means.index} | {title: means.index[themes[means.index] == title] for title in THEMES.values()}
        for title, ids in groups.items():
            if not len(ids):
                continue
            drawn = weights[ids].to_numpy()
            for judge in judged["judge"].unique():
                scores = drawn @ means.loc[ids, judge].reindex(columns=models).to_numpy()
                values.append(100 * np.clip(scores / drawn.sum(axis=1, keepdims=True), 0.0, 1.0)[:, :, None])
                measures.append(Measure(title, part, judge))
    return values, measures


def _asked(graded: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    closed = keyed(graded).assign(part=CLOSED, group=lambda rows: rows["suite"].map(SUITE_NAMES))
    opened = judged.drop_duplicates(["model", "suite", "key"]).assign(group=lambda rows: rows["theme"].map(THEMES))
    opened = opened.rename(columns={"suite": "part", "conversation_id": "id"})
    names = ["model", "part", "group", "id", "run", "completion_tokens"]
    return pd.concat([closed.rename(columns={"question_id": "id"})[names], opened[names]], ignore_index=True)
