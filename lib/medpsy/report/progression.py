"""What each stage of training leaves and adds, measured: scores, paired differences, and draws of both together.

Closed-ended suites, their average and HealthBench stand side by side as the measures of one size class. HealthBench is
that of the first judge. Gives no verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medpsy import published
from medpsy.benchmarks import OPEN_SUITES, SUITES
from medpsy.report.remeasured import LEAST, score_tables
from medpsy.report.rubric_scores import MAIN, conversation_means, overall, rubric_gaps, rubric_scored, rubric_tables
from medpsy.report.scores import TITLES, corrected, keyed, mean_gap, question_shares, scored, suite_gap
from medpsy.report.stages import Ladder
from medpsy.scoring import AVERAGE
from medpsy.statistics import interval
from medpsy.study import Study

HEALTHBENCH = OPEN_SUITES[MAIN].title
AVERAGE_TITLE = TITLES[AVERAGE]


@dataclass(frozen=True)
class Progression:
    """One size class measured at every stage; numbers are points.

    Args:
        scores: columns ``stage``, ``model``, ``label``, ``suite``, ``measure`` (a suite's title, ``"Average"`` or
            ``"HealthBench"``), ``score``, ``margin``.
        gaps: columns ``step``, ``suite``, ``measure``, ``difference`` (later minus earlier stage), ``margin``,
            ``p_value``, and ``p_holm``, corrected for all steps and measures of the class; paired by question.
        drawn: [1 + replicates, stages, measures]: the measured scores, then bootstrap samples of the same questions
            and conversations for every stage.
        measures: of `drawn`; its stages are those of the ladder.
        asked: measure -> questions or conversations behind it.
        judge: whose HealthBench scores these are; `comparable` says whether they are those of the published judge, or
            play their part.
    """

    ladder: Ladder
    scores: pd.DataFrame
    gaps: pd.DataFrame
    drawn: NDArray[np.float64]
    measures: list[str]
    asked: Mapping[str, int]
    judge: str
    comparable: bool

    def printed(self, row: str, measure: str) -> float | None:
        """Return the published number of `row`, None where the report has none that is comparable."""
        if measure == HEALTHBENCH and not self.comparable:
            return None
        return float(published.table(self.ladder.table).at[row, measure])

    def change(self, before: str, after: str, *measures: str) -> NDArray[np.float64]:
        """Return by how much the mean of `measures` rises between two stages, [1 + replicates]."""
        stages, places = list(self.ladder.models), [self.measures.index(one) for one in measures]
        first, second = (self.drawn[:, stages.index(stage), places].mean(axis=1) for stage in (before, after))
        return second - first

    def enough(self, *measures: str) -> bool:
        """Return whether enough questions or conversations were asked to settle anything."""
        return sum(self.asked[one] for one in measures) >= LEAST

    def margin(self, values: NDArray[np.float64], *measures: str) -> float | None:
        """Return the 95 % margin of what was drawn; None where too few questions were asked to speak of one."""
        if not self.enough(*measures):
            return None
        return interval(values[1:]).margin


def progression(
    study: Study,
    ladder: Ladder,
    graded: pd.DataFrame,
    judged: pd.DataFrame,
    *,
    judge_columns: Mapping[str, str],
) -> Progression:
    """Return what the stages of `ladder` leave and add.

    Args:
        graded: as `medpsy.evaluate.closed_ended` returns it.
        judged: as `medpsy.open_ended.open_ended` returns it; the first judge counts.
        judge_columns: judge -> column of the published stage tables that it is, or whose part it plays.

    Raises:
        ValueError: the published tables have no such column.
    """
    for name in set(judge_columns.values()) - {HEALTHBENCH}:
        raise ValueError(f"judge_columns: {name!r} is no column of {ladder.table}; write {HEALTHBENCH}")
    graded, judged = _of(graded, ladder), _of(judged, ladder)
    judge = judged["judge"].iloc[0]
    judged = judged[(judged["judge"] == judge) & (judged["suite"] == MAIN)]
    drawn, measures = _drawn(ladder, graded, judged)
    scores = stage_scores(study, ladder, graded, judged)
    gaps = _gaps(study, ladder, graded, judged)
    asked = _asked(graded, judged)
    return Progression(ladder, scores, gaps, drawn, measures, asked, judge, judge in judge_columns)


def stage_scores(
    study: Study, ladder: Ladder, graded: pd.DataFrame, judged: pd.DataFrame, *, published_runs: int | None = None
) -> pd.DataFrame:
    """Return score and margin of every stage and measure, columns as `Progression.scores` has them.

    Args:
        judged: of one judge.
        published_runs: as of `medpsy.report.scores.scored`.
    """
    closed = scored(study, graded, published_runs=published_runs)
    opened = overall(rubric_scored(study, judged)).assign(title=HEALTHBENCH)
    found = pd.concat([closed, opened], ignore_index=True).rename(columns={"title": "measure"})
    found["stage"] = found["model"].map({model: stage for stage, model in ladder.models.items()})
    return found[["stage", "model", "label", "suite", "measure", "score", "margin"]]


def _of(rows: pd.DataFrame, ladder: Ladder) -> pd.DataFrame:
    return rows[rows["model"].isin(ladder.models.values())]


def _gaps(study: Study, ladder: Ladder, graded: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    shares, rows = question_shares(graded), []
    for step in ladder.steps:
        after, before = ladder.models[step.after], ladder.models[step.before]
        suites = [suite_gap(shares, after, before, suite) for suite in SUITES if suite in set(graded["suite"])]
        (opened,) = rubric_gaps(study, judged[judged["model"].isin((after, before))], reference=after).to_dict(
            "records"
        )
        every = [mean_gap(suites), opened | {"suite": MAIN}, *suites]
        rows += [{"step": step.name} | one for one in every]
    found = pd.DataFrame(rows)
    found["measure"] = found["suite"].map(TITLES | {MAIN: HEALTHBENCH})
    found["p_holm"] = corrected(found["p_value"])
    return found[["step", "suite", "measure", "difference", "margin", "p_value", "p_holm"]]


def _drawn(ladder: Ladder, graded: pd.DataFrame, judged: pd.DataFrame) -> tuple[NDArray[np.float64], list[str]]:
    """Return draws of closed-ended suites and HealthBench side by side, and their columns."""
    stages = {model: stage for stage, model in ladder.models.items()}
    parts = [score_tables(graded, stages), rubric_tables(judged, stages, {judged["judge"].iloc[0]: HEALTHBENCH})]
    parts = [tables for tables in parts if not tables[0].empty]
    arrays = [np.stack([one.to_numpy() for one in tables]) for tables in parts]
    places = [tables[0].index.get_indexer(list(ladder.models)) for tables in parts]
    ordered = [array[:, place] for array, place in zip(arrays, places, strict=True)]
    return np.concatenate(ordered, axis=2), [name for tables in parts for name in tables[0].columns]


def _asked(graded: pd.DataFrame, judged: pd.DataFrame) -> dict[str, int]:
    counts = keyed(graded).groupby("suite")["question_id"].nunique()
    found = {TITLES[suite]: int(count) for suite, count in counts.items()}
    conversations = len(conversation_means(judged).dropna())  # those of which every stage has a score
    return found | {AVERAGE_TITLE: sum(found.values()), HEALTHBENCH: conversations}
