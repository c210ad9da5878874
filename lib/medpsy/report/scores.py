"""Scores with their 95 % margins, and differences between models on the same questions: the numbers behind the tables.

Scores come from `medpsy.scoring`, margins from `medpsy.statistics`; here they meet. Where nothing could be measured a
number is missing, never zero. Gives no verdict.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import ndtr

from medpsy import evaluate, scoring, statistics
from medpsy.benchmarks import SUITES
from medpsy.benchmarks.question import Question
from medpsy.report.compare import mode
from medpsy.report.gathering import stacked
from medpsy.scoring import AVERAGE
from medpsy.study import Study

TITLES = {AVERAGE: "Average"} | {key: spec.title for key, spec in SUITES.items()}
PUBLISHED_RUNS = 3  # card: every published score is the mean of three runs
Sizes = Mapping[str, Mapping[str, int]]  # suite -> weight group -> questions with a key


def scored(
    study: Study, graded: pd.DataFrame | Mapping[str, pd.DataFrame], *, published_runs: int | None = None
) -> pd.DataFrame:
    """Return the score and margin of every reader, model and suite, and of their average.

    Where the released models are run (profiles review and paper), the margin is that of the score of the whole suite;
    where the miniature stands in, that of all questions of its kind.

    Args:
        graded: as `medpsy.evaluate` returns it, or one such frame per reader.
        published_runs: runs behind published scores of the same suites; the margin is then that of the difference.

    Returns:
        Columns ``reader``, ``model``, ``label``, ``suite``, ``title``, ``score``, ``margin``, ``runs`` and the counts
        of `medpsy.scoring.scores`; models in the order given, suites in that of Table 1 after the average.
    """
    rows = stacked(graded)
    sizes = suite_sizes(_questions(study, rows)) if mode(study.profile) == "values" else None
    frames = [
        _scored(part, sizes, published_runs).assign(reader=reader)
        for reader, part in rows.groupby("reader", sort=False)
    ]
    found = pd.concat(frames, ignore_index=True)
    labels = {name: study.model(name).label or name for name in found["model"].unique()}
    found = found.assign(label=found["model"].map(labels), title=found["suite"].map(TITLES))
    first = ["reader", "model", "label", "suite", "title", "score", "margin", "runs"]
    return found[first + [name for name in found if name not in first]]


def gaps(study: Study, graded: pd.DataFrame, *, reference: str) -> pd.DataFrame:
    """Return by how much `reference` leads every other model, per suite and on average, on the same questions.

    Returns:
        Columns ``model``, ``label``, ``suite``, ``title``, ``difference`` (reference minus model), ``margin``,
        ``p_value``, and ``p_holm``: corrected for the number of models compared. A margin is missing where too few
        questions were asked to estimate one.
    """
    shares, others = question_shares(graded), [name for name in graded["model"].unique() if name != reference]
    if not others:
        raise ValueError(f"{reference} is the only model; a lead needs another one, name at least two")
    rows = []
    for model in others:
        suites = [suite_gap(shares, reference, model, suite) for suite in graded["suite"].unique()]
        rows += [
            {"model": model, "label": study.model(model).label or model} | one for one in [mean_gap(suites), *suites]
        ]
    found = pd.DataFrame(rows)
    found["title"] = found["suite"].map(TITLES)
    found["p_holm"] = found.groupby("suite")["p_value"].transform(corrected)
    return found


def best(scores: pd.DataFrame) -> str:
    """Return the name of the model with the highest average among rows of `scored`.

    Raises:
        ValueError: no model has an average; it needs all seven suites.
    """
    averages = scores[scores["suite"] == AVERAGE].dropna(subset="score")
    if averages.empty:
        raise ValueError("no model has an average over all seven suites; add the missing suites to study.yaml")
    return averages.loc[averages["score"].idxmax(), "model"]


def chance(study: Study) -> dict[str, float]:
    """Return the score of guessing in points, by title of suite and for the average, weighted as the scores are."""
    levels = {}
    for suite, group in evaluate.questions(study, every=True).items():
        shares = pd.DataFrame([(one.weight_group, 100 / len(one.options)) for one in group.values()])
        levels[TITLES[suite]] = float(shares.groupby(0)[1].mean().mean())
    return {TITLES[AVERAGE]: float(np.mean(list(levels.values())))} | levels


def suite_sizes(questions: Mapping[str, Mapping[str, Question]]) -> Sizes:
    """Return how many questions with a key every weight group of every suite has."""
    return {
        suite: Counter(one.weight_group for one in group.values() if one.gold is not None)
        for suite, group in questions.items()
    }


def _questions(study: Study, rows: pd.DataFrame) -> dict[str, dict[str, Question]]:
    return evaluate.questions(study, list(rows["suite"].unique()), every=True)


def _scored(graded: pd.DataFrame, sizes: Sizes | None, published_runs: int | None) -> pd.DataFrame:
    """Return the rows of `medpsy.scoring.scores` with margins, the average first."""
    table = scoring.scores(graded)
    known = {
        (model, suite): _measured(part, sizes and sizes[suite], published_runs)
        for (model, suite), part in keyed(graded).groupby(["model", "suite"], sort=False)
    }
    for model in table["model"].unique():
        suites = [known.get((model, suite)) for suite in SUITES]
        known[model, AVERAGE] = None if None in suites else statistics.average(suites)
    measured = [known.get((row.model, row.suite)) for row in table.itertuples()]
    table["margin"] = [one.margin if one else np.nan for one in measured]
    table["runs"] = [one.runs if one else 0 for one in measured]
    order = table["suite"].map({name: place for place, name in enumerate(TITLES)})
    models = table["model"].map({name: place for place, name in enumerate(table["model"].unique())})
    return table.assign(a=models, b=order).sort_values(["a", "b"]).drop(columns=["a", "b"]).reset_index(drop=True)


def _measured(
    part: pd.DataFrame, sizes: Mapping[str, int] | None, published_runs: int | None
) -> statistics.Score | None:
    """Return score and margin of one model on one suite; None where every request failed.

    Where some requests failed, the runs of a question are not equally many: its mean over them then counts as one.
    """
    matrix = part.pivot(index=["weight_group", "question_id"], columns="run", values="right")
    matrix = matrix if not matrix.isna().any(axis=None) else matrix.mean(axis=1).dropna().to_frame()
    if matrix.empty:
        return None
    settings = {"suite_size": sizes, "published_runs": published_runs} if sizes else {}
    return statistics.suite_score(matrix.to_numpy(), groups=matrix.index.get_level_values(0).to_list(), **settings)


def keyed(graded: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of questions with a key, `right` being 1, 0, or missing where the request failed."""
    rows = graded[graded["gold"].notna()]
    return rows.assign(right=(rows["outcome"] == "correct").astype(float).where(rows["outcome"] != "failed"))


def question_shares(graded: pd.DataFrame) -> pd.Series:
    """Return the share of correct runs of every model, suite, weight group and question, failed ones left out."""
    rows = keyed(graded).dropna(subset="right")
    return rows.groupby(["model", "suite", "weight_group", "question_id"])["right"].mean()


def suite_gap(shares: pd.Series, first: str, second: str, suite: str) -> dict:
    """Return the paired difference of two models on the questions of `suite` that both answered."""
    nothing = {"suite": suite, "difference": np.nan, "margin": np.nan, "p_value": np.nan}
    if not {(first, suite), (second, suite)} <= set(shares.index.droplevel([2, 3])):
        return nothing
    pair = pd.concat([shares[first][suite], shares[second][suite]], axis=1, join="inner")
    if pair.groupby(level=0).size().min() < 2:  # a group of one question has no spread to estimate a margin from
        return nothing | {"difference": 100 * (pair.iloc[:, 0] - pair.iloc[:, 1]).groupby(level=0).mean().mean()}
    found = statistics.paired_difference(
        pair.iloc[:, 0].to_numpy(), pair.iloc[:, 1].to_numpy(), groups=pair.index.get_level_values(0).to_list()
    )
    return {"suite": suite, "difference": found.difference, "margin": found.margin, "p_value": found.p_value}


def mean_gap(suites: list[dict]) -> dict:
    """Return the plain mean of independent differences; its p-value is that of a normal with the same margin."""
    differences = np.array([one["difference"] for one in suites])
    difference = float(differences.mean()) if len(suites) == len(SUITES) else np.nan
    margin = float(np.sqrt(np.sum(np.square([one["margin"] for one in suites]))) / len(suites))
    return {"suite": AVERAGE, "difference": difference, "margin": margin, "p_value": _normal_p(difference, margin)}


def _normal_p(difference: float, margin: float) -> float:
    return float(2 * ndtr(-abs(difference) / margin * statistics.suite.Z))


def corrected(p_values: pd.Series) -> pd.Series:
    """Return p-values corrected for each other's number (Holm); a missing one stays missing and does not count."""
    known = p_values.dropna()
    return pd.Series(statistics.holm(known.to_numpy()), index=known.index).reindex(p_values.index)
