"""Tables of open-ended evaluation: models under each judge, themes, what unjudged criteria and other scorings change.

Arranges numbers of `medpsy.report.rubric_scores`. Published scores of other models are shown as such, never compared.
"""

from collections.abc import Mapping
from urllib.parse import urlencode

import pandas as pd

from medpsy.grading import judge_agreement, rubric
from medpsy.report.compare import mode
from medpsy.report.display import MARGIN, Table, table
from medpsy.report.rubric_scores import BY, MAIN, overall
from medpsy.statistics.agreement import rank_correlations
from medpsy.study import Study

BOOTSTRAP = "Points; 95 % margins from conversations drawn anew, runs together."


def judges_table(
    study: Study,
    scores: pd.DataFrame,
    published: pd.DataFrame | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    suite: str = MAIN,
    title: str = "HealthBench under each judge",
) -> Table:
    """Return one row per model and one column per judge, best under the first judge first; published rows below.

    Args:
        scores: as `rubric_scored` returns it.
        published: index model, one column per judge of the report.
        columns: judge of ours -> column of `published` that it is, or whose part it plays.
    """
    rows = overall(scores, suite)
    judges = dict(zip(rows["judge"], rows["judge_label"], strict=True))
    first = rows[rows["judge"] == next(iter(judges))].sort_values("score", ascending=False)
    found = {"Model": first["label"].to_list(), "Source": ["ours"] * len(first)}
    for judge, label in judges.items():
        own = rows[rows["judge"] == judge].set_index("model").loc[first["model"]]
        found |= {label: own["score"].to_list(), label + MARGIN: own["margin"].to_list()}
    frame = pd.concat([pd.DataFrame(found), _published(study, published, judges, columns or {})], ignore_index=True)
    more = [None] * (len(frame) - len(first))
    links = {label: [*(link(model, suite) for model in first["model"]), *more] for label in judges.values()}
    return table(frame, title, note=BOOTSTRAP, links=links)


def theme_table(
    scores: pd.DataFrame, *, judge: str, suite: str = MAIN, kind: str = "theme", title: str = "Scores by theme"
) -> Table:
    """Return one row per model: overall and every theme (or, `kind` ``"axis"``, axis) under one judge."""
    rows = scores[(scores["judge"] == judge) & (scores["suite"] == suite)]
    shown = rows[rows["kind"].isin(("overall", kind))]
    best = overall(rows, suite).sort_values("score", ascending=False)
    frame = pd.DataFrame({"Model": best["label"].to_list()})
    for name in shown["title"].unique():
        own = shown[shown["title"] == name].set_index("model").reindex(best["model"])
        frame[name], frame[name + MARGIN] = own["score"].to_numpy(), own["margin"].to_numpy()
    note = f"{BOOTSTRAP} Judge: {rows['judge_label'].iloc[0]}."
    return table(frame, title, note=note)


def judge_gap_table(gaps: pd.DataFrame, reference: str, *, title: str = "") -> Table:
    """Return the lead of `reference` (a label) over every other model under each judge; `gaps` as `rubric_gaps`."""
    frame = pd.DataFrame({"Model": gaps["label"].unique()})
    for label in gaps["judge_label"].unique():
        own = gaps[gaps["judge_label"] == label].set_index("label").reindex(frame["Model"])
        frame[label], frame[label + MARGIN] = own["difference"].to_numpy(), own["margin"].to_numpy()
    note = "Points, paired by conversation, 95 % margins."
    return table(frame, title or f"Lead of {reference} over, by judge", note=note)


def unjudged_table(scores: pd.DataFrame, *, suite: str = MAIN, title: str = "Criteria without a verdict") -> Table:
    """Return per model and judge how many criteria are unjudged, and the range of the score that this leaves open."""
    rows = overall(scores, suite)
    names = {"label": "Model", "judge_label": "Judge", "score": "Score", "unjudged": "Unjudged", "low": "Lowest"}
    frame = rows[[*names, "high"]].rename(columns=names | {"high": "Highest"})
    note = "Lowest: unjudged good criteria not met, bad ones met; highest: the reverse."
    return table(frame, title, note=note)


def scoring_table(study: Study, judged: pd.DataFrame, *, suite: str = MAIN) -> Table:
    """Return the overall score as the reference defines it, as the report rounds, and as other implementations do."""
    part = judged[judged["suite"] == suite]
    reference = rubric.scores(part, by=BY, replicates=0)
    found = reference[reference["kind"] == "overall"].set_index(["judge", "model"])
    frame = pd.DataFrame(
        {
            "Judge": [study.model(judge).label for judge, _ in found.index],
            "Model": [study.model(model).label for _, model in found.index],
            "Reference": 100 * found["score"].to_numpy(),
        }
    )
    rounded = rubric.as_published(part, by=BY)
    rounded = rounded[rounded["kind"] == "overall"].set_index(["judge", "model"])["points"]
    frame["As published"] = rounded.reindex(found.index).to_numpy()
    for name, scoring in rubric.OTHERS.items():
        other = rubric.scores(part, scoring, by=BY, replicates=0)
        other = other[other["kind"] == "overall"].set_index(["judge", "model"])["score"]
        frame[name] = 100 * other.reindex(found.index).to_numpy()
    note = "As published: each run rounded to a whole point, then the mean of the runs."
    return table(frame, "The same verdicts, scored differently", note=note)


def agreement_table(study: Study, judged: pd.DataFrame, scores: pd.DataFrame, *, suite: str = MAIN) -> Table:
    """Return how far each pair of judges agrees on criteria, and on the order of the models."""
    pairs = judge_agreement.pairwise(judged[judged["suite"] == suite])
    rows = overall(scores, suite).pivot(index="model", columns="judge", values="score")
    order = rank_correlations(rows[list(judged["judge"].unique())])
    frame = pd.DataFrame(
        {
            "Judge": [study.model(name).label for name in pairs["first"]],
            "Other judge": [study.model(name).label for name in pairs["second"]],
            "Criteria": pairs["criteria"],
            "Same (%)": pairs["same"],
            "Cohen's kappa": pairs["kappa"],
            "Rank correlation of models": order["spearman"],
        }
    )
    panel = judge_agreement.panel_kappa(judged[judged["suite"] == suite])
    note = f"Fleiss' kappa of the panel: {panel:.2f}." if panel is not None else "Fleiss' kappa is not defined here."
    return table(frame, "Agreement of the judges", note=f"{note} Spearman's correlation over {len(rows)} models.")


def _published(
    study: Study, published: pd.DataFrame | None, judges: Mapping[str, str], columns: Mapping[str, str]
) -> pd.DataFrame:
    if published is None:
        return pd.DataFrame()
    source = "published" if mode(study.profile) == "values" else "published (other models and judges)"
    known = {label: columns[judge] for judge, label in judges.items() if columns.get(judge) in published}
    rows = {label: published[name].to_list() for label, name in known.items()}
    return pd.DataFrame({"Model": list(published.index), "Source": source} | rows)


def link(model: str, suite: str) -> str:
    return "conversations#" + urlencode({"model": model, "suite": suite})
