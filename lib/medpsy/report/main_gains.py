"""By how much the final model of a size class is above another one, measure by measure, ranked (report 4.4).

The report names no reference for its gains, so they are counted over the backbone and over the rival. Differences are
paired by question or conversation; the margin of a rank is that of samples drawn together.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medpsy import published
from medpsy.report import compare
from medpsy.report.display import MARGIN, Table, table
from medpsy.report.main_claims import SPLITS, TABLE_1, THEME_JUDGE, THEME_TABLES
from medpsy.report.main_draws import AVERAGE_TITLE, CLOSED, WHOLE, MainDraws, Measure
from medpsy.report.main_models import SizeClass, stands_for
from medpsy.report.orders import LEAST
from medpsy.report.rubric_scores import rubric_gaps
from medpsy.report.scores import corrected, gaps
from medpsy.study import Study

UNRANKED = (np.nan, np.nan, np.nan)


def main_gains(
    study: Study,
    one: SizeClass,
    drawn: MainDraws,
    graded: pd.DataFrame,
    judged: pd.DataFrame,
    *,
    judge_columns: Mapping[str, str],
) -> pd.DataFrame:
    """Return the gains of the final model of `one` over its backbone and its rival, largest first.

    Args:
        graded, judged: the rows that `drawn` was made of.

    Returns:
        Columns ``reference`` (model), ``label``, ``measure``, ``difference`` (points), ``margin``, ``p_value``,
        ``p_holm`` (corrected for all measures and references of the class), ``rank``, ``rank_low``, ``rank_high``
        (95 %; the average has no rank), ``published`` (None where the report has none that is comparable), ``enough``.
    """
    judge = study.judges[0]
    comparable, rows = judge_columns.get(judge) == THEME_JUDGE, stands_for([one])
    frames = []
    for reference in one.references:
        found = _differences(study, one.ours, reference, graded, judged, judge)
        parts = [_printed(row.measure, rows[one.ours], rows[reference], comparable) for row in found.itertuples()]
        enough = [drawn.questions([row.measure], [one.ours]) >= LEAST for row in found.itertuples()]
        found = found.assign(reference=reference, label=study.model(reference).label, published=parts, enough=enough)
        ranks = _ranks(drawn, one.ours, reference, list(found["measure"]))
        found[["rank", "rank_low", "rank_high"]] = [ranks.get(measure, UNRANKED) for measure in found["measure"]]
        frames.append(found.sort_values("difference", ascending=False))
    whole = pd.concat(frames, ignore_index=True)
    return whole.assign(p_holm=corrected(whole["p_value"]))


def gain_table(study: Study, one: SizeClass, gains: pd.DataFrame) -> Table:
    """Return one row per reference and measure: the paired gain, its rank, the published gain; `gains` as above.

    Where other models stand in, the verdict is that of the published sign.
    """
    rows = []
    for row in gains.itertuples():
        margin = row.margin if row.enough else None
        measured = compare.Measured(row.published, row.difference, margin, difference=True)
        shown = {"Over": row.label, "Measure": shown_measure(row.measure)}
        shown |= {"Gain": row.difference, "Gain" + MARGIN: row.margin, "p (Holm)": row.p_holm}
        shown |= {"Rank": _whole(row.rank), "Rank, 95 %": _span(row.rank_low, row.rank_high)}
        rows.append(shown | {"Published": row.published, "Verdict": compare.verdict(measured, study.profile)})
    note = "Points, 95 % margins, paired by question or conversation; p corrected (Holm) for all rows of the table."
    if compare.mode(study.profile) == "patterns":
        note += " Published gains are those of other models: their sign is tested."
    return table(pd.DataFrame(rows), f"Gains of {study.model(one.ours).label}", note=note)


def shown_measure(measure: Measure) -> str:
    """Return what a reader calls `measure`."""
    if measure.part == CLOSED:
        return measure.title
    split = SPLITS[measure.part].replace("-", " ")
    return split if measure.title == WHOLE else f"{split}, {measure.title}"


def _differences(
    study: Study, ours: str, reference: str, graded: pd.DataFrame, judged: pd.DataFrame, judge: str
) -> pd.DataFrame:
    """Return the paired differences on the average, every suite and every open suite under `judge`."""
    pair = (ours, reference)
    closed = gaps(study, graded[graded["model"].isin(pair)], reference=ours)
    closed = closed.assign(measure=[Measure(title) for title in closed["title"]])
    judged = judged[(judged["judge"] == judge) & judged["model"].isin(pair)]
    opened = [
        rubric_gaps(study, judged, reference=ours, suite=part).assign(measure=[Measure(WHOLE, part, judge)])
        for part in SPLITS
        if part in set(judged["suite"])
    ]
    return pd.concat([closed, *opened], ignore_index=True)[["measure", "difference", "margin", "p_value"]]


def _ranks(
    drawn: MainDraws, ours: str, reference: str, measures: Sequence[Measure]
) -> dict[Measure, tuple[float, float, float]]:
    """Return the rank of the gain on every measure but the average, and the ends of its 95 % interval."""
    ranked = [measure for measure in measures if measure != Measure(AVERAGE_TITLE) and measure in drawn.measures]
    leads = np.stack([drawn.lead(ours, reference, measure) for measure in ranked])  # [measures, 1 + replicates]
    ranks = 1 + (leads[None] > leads[:, None]).sum(axis=1)  # how many others are larger
    low, high = np.quantile(ranks[:, 1:], (0.025, 0.975), axis=1)
    return {one: tuple(map(float, three)) for one, *three in zip(ranked, ranks[:, 0], low, high, strict=True)}


def _printed(measure: Measure, first: str, second: str, comparable: bool) -> float | None:
    """Return the published lead of row `first` over row `second`, None where the judge is not the report's."""
    if measure.part != CLOSED and not comparable:
        return None
    printed = published.table(TABLE_1 if measure.part == CLOSED else THEME_TABLES[measure.part])
    return float(printed.at[first, measure.title] - printed.at[second, measure.title])


def _whole(rank: float) -> int | None:
    return None if pd.isna(rank) else int(rank)


def _span(low: float, high: float) -> str | None:
    return None if pd.isna(low) else f"{low:.0f} to {high:.0f}"
