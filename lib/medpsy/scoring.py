"""From graded responses to scores: accuracy 0 to 100 as each suite defines it, with every outcome counted apart.

Refuses to score what cannot be scored: a question without a key and a failed request are left out and counted. Margins
are the work of `medpsy.statistics`.
"""

import numpy as np
import pandas as pd

from medpsy.benchmarks import SUITES
from medpsy.grading.outcomes import NO_GOLD, OUTCOMES

AVERAGE = "average"
COUNTS = ["responses", *OUTCOMES, NO_GOLD]


def scores(graded: pd.DataFrame, *, by_run: bool = False) -> pd.DataFrame:
    """Return one row per model and suite (and run), and one called ``"average"`` per model.

    A suite's score is the plain mean over its weight groups of the share of correct responses; unreadable and cut off
    ones count as not correct, failed ones do not count. The average is the plain mean of the seven suites' scores
    (report 4.1.1), missing unless all seven are there.

    Args:
        graded: as `medpsy.evaluate.closed_ended` returns it.

    Returns:
        Columns ``model``, ``suite``, (``run``), ``score`` (0 to 100, missing where nothing could be scored),
        ``questions`` (with a key), ``responses`` (to them), one count per outcome, ``no gold`` (responses without).
    """
    unit = ["model", "run"] if by_run else ["model"]
    table = _suite_rows(graded, [*unit, "suite"])
    rows = []
    for names, part in table.groupby(unit, sort=False):
        part = part.sort_values("suite", key=lambda column: column.map({key: at for at, key in enumerate(SUITES)}))
        rows += [part, _average(part, dict(zip(unit, names, strict=True)))]
    order = [*unit[:1], "suite", *unit[1:], "score", "questions", *COUNTS]
    return pd.concat(rows, ignore_index=True)[order] if rows else pd.DataFrame(columns=order)


def _suite_rows(graded: pd.DataFrame, unit: list[str]) -> pd.DataFrame:
    keyed = graded[graded["gold"].notna()]
    counts = pd.crosstab([graded[name] for name in unit], graded["outcome"])
    counts = counts.reindex(columns=[*OUTCOMES, NO_GOLD], fill_value=0)
    scored = keyed[keyed["outcome"] != "failed"].assign(correct=lambda rows: (rows["outcome"] == "correct") * 100.0)
    groups = keyed.groupby([*unit, "weight_group"], sort=False).size().index
    share = scored.groupby([*unit, "weight_group"], sort=False)["correct"].mean().reindex(groups)
    # A group without any scored response makes the suite's score missing: a mean of the others is another measure.
    score = share.groupby(unit, sort=False).agg(lambda one: np.nan if one.isna().any() else one.mean())
    questions = keyed.groupby(unit, sort=False)["question_id"].nunique()
    rows = graded[unit].drop_duplicates().set_index(unit)
    rows = rows.join(score.rename("score")).join(questions.rename("questions")).join(counts)
    rows["responses"] = rows[list(OUTCOMES)].sum(axis=1)
    return rows.fillna({"questions": 0}).astype({"questions": int}).reset_index()


def _average(part: pd.DataFrame, names: dict[str, object]) -> pd.DataFrame:
    complete = set(part["suite"]) >= set(SUITES)
    score = part["score"].mean(skipna=False) if complete else np.nan
    row = {**names, "suite": AVERAGE, "score": score, **part[["questions", *COUNTS]].sum()}
    return pd.DataFrame([row]).astype({name: int for name in ("questions", *COUNTS)})
