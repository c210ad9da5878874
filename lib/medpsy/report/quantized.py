"""GGUF files measured as Tables 7 and 8 do: closed-ended average, HealthBench, Hard and their mean, drawn together.

Every bootstrap sample draws the same questions and conversations for all files and both size classes, so that every
difference to the source model, and between the classes, is paired. HealthBench is that of the first judge.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medpsy.benchmarks import OPEN_SUITES
from medpsy.quantization import Family, Variant
from medpsy.report.orders import LEAST
from medpsy.report.remeasured import score_tables
from medpsy.report.rubric_scores import MAIN, rubric_tables
from medpsy.report.scores import TITLES, keyed
from medpsy.scoring import AVERAGE
from medpsy.statistics import interval

CLOSED, OPEN, HARD, BOTH = "Closed-Ended Avg", "HealthBench", "HB Hard", "AVG Score"  # columns of Tables 7 and 8
MEASURES = (OPEN, HARD, CLOSED, BOTH)  # in their order
HARD_SUITE = "healthbench_hard"
PARTS = {CLOSED: ("closed",), OPEN: (MAIN,), HARD: (HARD_SUITE,), BOTH: ("closed", MAIN)}  # what was asked for each
Values = NDArray[np.float64]  # [1 + replicates]: measured, then bootstrap samples


@dataclass(frozen=True)
class Quantized:
    """The files of both size classes with their scores, in points.

    Args:
        values: (model, measure) -> scores; the model of a family's BF16 row is its source.
        asked: one row per response: ``model``, ``part`` (see `PARTS`), ``id``, ``run``, ``completion_tokens``.
        judge: whose HealthBench scores these are; `comparable` says whether they are those of the published judge, or
            play their part.
    """

    families: Mapping[str, Family]
    values: Mapping[tuple[str, str], Values]
    asked: pd.DataFrame
    judge: str
    comparable: bool

    def score(self, model: str, measure: str) -> Values:
        return self.values[model, measure]

    def change(self, one: Variant, measure: str = BOTH) -> Values:
        """Return by how much the file `one` is above its source model."""
        return self.values[one.name, measure] - self.values[one.source, measure]

    def relative(self, one: Variant) -> Values:
        """Return the change of the AVG Score in percent of the source model's."""
        return 100 * self.change(one) / self.values[one.source, BOTH]

    def variant(self, size: str, form: str, *, plain: bool = False) -> Variant | None:
        """Return the file of a format, `plain` the one built without importance matrix; None where there is none."""
        found = [one for one in self.families[size].variants if one.format == form and one.is_plain == plain]
        return found[0] if found else None

    def enough(self, *measures: str) -> bool:
        """Return whether enough questions and conversations were asked to settle anything about `measures`."""
        parts = {part for measure in measures for part in PARTS[measure]}
        counts = self.asked.groupby("part")["id"].nunique()
        return all(counts.get(part, 0) >= LEAST for part in parts)

    def margin(self, values: Values, *measures: str) -> float | None:
        """Return the 95 % margin of `values`; None where too few questions were asked to speak of one."""
        if not self.enough(*measures) or not np.isfinite(values).all():
            return None
        return interval(values[1:]).margin


def quantized(
    families: Mapping[str, Family],
    graded: pd.DataFrame,
    judged: pd.DataFrame,
    *,
    judge_columns: Mapping[str, str],
) -> Quantized:
    """Return the scores of all files, their sources and whatever other models were asked.

    Args:
        graded: as `medpsy.evaluate.closed_ended` returns it.
        judged: as `medpsy.open_ended.open_ended` returns it, of the same models; the first judge counts.
        judge_columns: judge -> ``"HealthBench"``, where it is the published judge or plays its part.

    Raises:
        ValueError: the published tables have no such column.
    """
    for name in set(judge_columns.values()) - {OPEN}:
        raise ValueError(f"judge_columns: {name!r} is no column of Tables 7 and 8; write {OPEN}")
    models, judge = list(graded["model"].unique()), judged["judge"].iloc[0]
    judged = judged[judged["judge"] == judge]
    parts = {CLOSED: _closed(graded, models)}
    for seed, (measure, suite) in enumerate(((OPEN, MAIN), (HARD, HARD_SUITE)), start=1):
        found = _open(judged[judged["suite"] == suite], models, judge, seed)
        parts[measure] = np.full_like(parts[CLOSED], np.nan) if found is None else found
    parts[BOTH] = (parts[CLOSED] + parts[OPEN]) / 2
    values = {(name, measure): part[:, at] for measure, part in parts.items() for at, name in enumerate(models)}
    return Quantized(families, values, _asked(graded, judged), judge, judge in judge_columns)


def _closed(graded: pd.DataFrame, models: list[str]) -> NDArray[np.float64]:
    """Return the averages [1 + replicates, models]; missing unless all seven suites were asked."""
    tables, title = score_tables(graded, {name: name for name in models}), TITLES[AVERAGE]
    return np.stack([one[title].reindex(models) if title in one else np.full(len(models), np.nan) for one in tables])


def _open(judged: pd.DataFrame, models: list[str], judge: str, seed: int) -> NDArray[np.float64] | None:
    """Return the overall scores [1 + replicates, models] of one open suite; other samples than those of the suites.

    There are none where no conversation was judged for all of `models`.
    """
    tables = rubric_tables(judged.assign(suite=MAIN), {name: name for name in models}, {judge: OPEN}, seed=seed)
    if tables[0].empty:
        return None
    return np.stack([one[OPEN].reindex(models) for one in tables])


def _asked(graded: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    closed = keyed(graded).assign(part="closed", id=lambda rows: rows["suite"] + "/" + rows["question_id"])
    opened = judged[judged["suite"].isin(OPEN_SUITES)].drop_duplicates(["model", "suite", "key"])
    opened = opened.rename(columns={"suite": "part", "conversation_id": "id"})
    names = ["model", "part", "id", "run", "completion_tokens"]
    return pd.concat([closed[names], opened[names]], ignore_index=True)
