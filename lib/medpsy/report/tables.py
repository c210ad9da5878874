"""Tables of a section: ours with margins, the published numbers beside them, every outcome counted apart.

Arranges numbers of `medpsy.report.scores`; computes none but the gap to a published value. Published scores of other
models are shown as such and never compared.
"""

from urllib.parse import urlencode

import numpy as np
import pandas as pd

from medpsy.grading.outcomes import NO_GOLD, OUTCOMES
from medpsy.report.compare import known, mode, value_verdict
from medpsy.report.display import MARGIN, Table, table
from medpsy.report.scores import PUBLISHED_RUNS, TITLES, scored
from medpsy.scoring import AVERAGE, COUNTS
from medpsy.study import Study

AVERAGE_TITLE = TITLES[AVERAGE]


def closed_ended_table(
    study: Study, scores: pd.DataFrame, published: pd.DataFrame | None = None, *, title: str = "Closed-ended scores"
) -> Table:
    """Return one row per model and one column per suite, ours ± margin, best average first; published rows below.

    Args:
        scores: as `scored` returns it, of one reader.
        published: a published table of scores: index model, columns suite titles and ``"Average"``.
    """
    ours = scores.pivot(index=["model", "label"], columns="title", values="score")
    margins = scores.pivot(index=["model", "label"], columns="title", values="margin")
    suites = [name for name in TITLES.values() if name in ours]
    ours = ours[suites].sort_values(AVERAGE_TITLE, ascending=False)
    rows = ours.reset_index("model", drop=True).rename_axis("Model").reset_index().assign(Source="ours")
    for name in suites:
        rows[name + MARGIN] = margins[name].reindex(ours.index).to_numpy()
    models = list(ours.index.get_level_values("model"))
    extra = _published_rows(study, published, suites)
    order = ["Model", "Source", *(name + end for name in suites for end in ("", MARGIN))]
    frame = pd.concat([rows, extra], ignore_index=True)[order]
    links = {name: [*(link(model, name) for model in models), *[None] * len(extra)] for name in suites}
    return table(frame, title, note=_score_note(study), links=links)


def beside_published(study: Study, graded: pd.DataFrame, published: pd.DataFrame, *, title: str = "") -> Table:
    """Return ours beside published, one row per model and suite, with gap and verdict.

    The margin is that of the gap: run noise on both sides, and the choice of questions where not all were asked.
    """
    values = mode(study.profile) == "values"
    scores = scored(study, graded, published_runs=PUBLISHED_RUNS if values else None)
    rows = [_beside(row, _printed(published, row) if values else None) for row in scores.itertuples()]
    note = "95 % margin of the gap." if values else "Other models than the published ones: values cannot be tested."
    links = {"Ours": [link(row.model, row.title) for row in scores.itertuples()]}
    return table(pd.DataFrame(rows), title or "Ours beside the published scores", note=note, links=links)


def outcome_table(scores: pd.DataFrame, *, title: str = "Outcomes of all responses") -> Table:
    """Return how many responses of each model to each suite ended in which outcome, the sum of the suites first."""
    frame = scores[["label", "title", *COUNTS]].assign(title=scores["title"].replace(AVERAGE_TITLE, "all"))
    if not frame[NO_GOLD].any():
        frame = frame.drop(columns=NO_GOLD)
    frame = frame.rename(columns={"label": "Model", "title": "Suite"}).rename(columns=_words)
    note = "Unreadable and cut off responses count as not correct; failed requests are not scored."
    links = {
        outcome.capitalize(): [link(row.model, row.title, outcome=outcome) for row in scores.itertuples()]
        for outcome in OUTCOMES
    }
    return table(frame, title, note=note, links=links)


def gap_table(gaps: pd.DataFrame, reference: str, *, title: str = "") -> Table:
    """Return the lead of `reference` (a label) over every other model, per suite, with paired margins."""
    difference = gaps.pivot(index="label", columns="title", values="difference")
    margin = gaps.pivot(index="label", columns="title", values="margin")
    averages = gaps[gaps["suite"] == AVERAGE].set_index("label")
    frame = pd.DataFrame({"Model": list(averages.sort_values("difference").index)})
    for name in [name for name in TITLES.values() if name in difference]:
        frame[name] = difference[name].reindex(frame["Model"]).to_numpy()
        frame[name + MARGIN] = margin[name].reindex(frame["Model"]).to_numpy()
    frame["p (Holm)"] = averages["p_holm"].reindex(frame["Model"]).to_numpy()
    note = "Points, paired by question, 95 % margins; p of the average, corrected for the number of models."
    return table(frame, title or f"Lead of {reference} over", note=note)


def reader_table(scores: pd.DataFrame, *, title: str = "The same responses, read by each reader") -> Table:
    """Return score and outcomes of every reader and model over all suites."""
    rows = scores[scores["suite"] == AVERAGE]
    names = {"reader": "Reader", "label": "Model", "score": "Score", "margin": "Score" + MARGIN}
    frame = rows[[*names, "responses", *OUTCOMES]].rename(columns=names).rename(columns=_words)
    links = {"Score": [urlencode({"reader": row.reader, "model": row.model}) for row in rows.itertuples()]}
    return table(
        frame, title, note="Average over the suites, 95 % margins; outcomes are counts of responses.", links=links
    )


def _published_rows(study: Study, published: pd.DataFrame | None, suites: list[str]) -> pd.DataFrame:
    if published is None:
        return pd.DataFrame()
    source = "published" if mode(study.profile) == "values" else "published (other models)"
    rows = published[[name for name in suites if name in published]].rename_axis("Model").reset_index()
    return rows.assign(Source=source)


def _beside(row: object, published: float | None) -> dict:
    gap = row.score - published if known(published) else np.nan
    verdict = value_verdict(published, row.score, row.margin)
    ours = {"Model": row.label, "Suite": row.title, "Ours": row.score, "Ours" + MARGIN: row.margin}
    return ours | {"Published": published, "Gap": gap, "Verdict": verdict}


def _printed(published: pd.DataFrame, row: object) -> float | None:
    there = row.label in published.index and row.title in published.columns
    return float(published.loc[row.label, row.title]) if there else None


def link(model: str, title: str, **more: str) -> str:
    """Return the filter of the responses behind a cell."""
    suite = next(key for key, name in TITLES.items() if name == title)
    chosen = {"model": model} if suite == AVERAGE else {"model": model, "suite": suite}
    return urlencode(chosen | more)


def _score_note(study: Study) -> str:
    if mode(study.profile) == "values":
        return "Points, 95 % margins: run noise, and the choice of questions where not all were asked."
    return "Points, 95 % margins: run noise and the choice of questions."


def _words(name: str) -> str:
    return name.capitalize() if name.islower() else name
