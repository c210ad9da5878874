"""The claims of one section of the report, measured: closed-ended tables and those of HealthBench together."""

from collections.abc import Mapping, Sequence

import pandas as pd

from medpsy import published
from medpsy.report.effort import RubricDesign, drawn_rows
from medpsy.report.remeasured import from_draws, remeasured
from medpsy.report.rubric_scores import MAIN, rubric_tables
from medpsy.study import Study

Measured = Mapping[str, tuple[pd.DataFrame, Sequence[str]]]  # published table -> graded or judged rows, and models


def measured_claims(
    study: Study,
    section: str,
    *,
    closed_ended: Measured,
    open_ended: Measured,
    stands_for: Mapping[str, str],
    judge_columns: Mapping[str, str],
) -> list[dict]:
    """Return one row per claim of `section` that rests on one of the measured tables, for a result's `claims`.

    Args:
        closed_ended: published table -> rows of `medpsy.evaluate.closed_ended`, and the models that belong to it.
        open_ended: published table -> rows of `medpsy.open_ended.open_ended`, and the models that belong to it.
        stands_for: model -> row of the published tables that it is, or whose part it plays.
        judge_columns: judge -> column of the published HealthBench tables, likewise.
    """
    claims, rows = published.claims(section), []
    for table, (graded, models) in closed_ended.items():
        rows += remeasured(study, graded, claims, table=table, stands_for=_parts(stands_for, models))
    for table, (judged, models) in open_ended.items():
        parts = _parts(stands_for, models)
        suite = judged[(judged["suite"] == MAIN) & judged["model"].isin(parts)]
        behind = RubricDesign(suite, {row: model for model, row in parts.items()})
        drawn = drawn_rows({table: rubric_tables(suite, parts, judge_columns)})
        rows += from_draws(study.profile, drawn, behind, claims)
    return rows


def _parts(stands_for: Mapping[str, str], models: Sequence[str]) -> dict[str, str]:
    return {model: row for model, row in stands_for.items() if model in models}
