"""What is said of trained checkpoints beyond their stages: the spread between trainings, and scores in their cards."""

from collections.abc import Sequence

import pandas as pd

from medpsy.report.display import Table
from medpsy.report.rubric_scores import overall
from medpsy.scoring import AVERAGE
from medpsy.study import STAGES, Study
from medpsy.training.card import enter_scores

LAST = STAGES[-1]


def retrained(study: Study, seeds: Sequence[int]) -> list[str]:
    """Return the names of the final checkpoints of all `seeds` but the study's own, of every target."""
    return [study.checkpoint(size, LAST, seed).name for size in study.targets for seed in seeds if seed != study.seed]


def training_spread(study: Study, scores: pd.DataFrame, seeds: Sequence[int]) -> dict[str, Table]:
    """Return how far the final closed-ended averages of several trainings lie apart; nothing where nothing is trained.

    Args:
        scores: as `medpsy.report.scored` returns them, of the final checkpoints of all `seeds`.
    """
    averages = scores[scores["suite"] == AVERAGE].set_index("model")
    rows = []
    for size in study.targets:
        known = averages.loc[[study.checkpoint(size, LAST, seed).name for seed in seeds]]
        deviation = known["score"].std(ddof=1) if len(known) > 1 else None
        rows.append([size, len(known), known["score"].mean(), deviation, *known[["score", "margin"]].iloc[0]])
    columns = ["Size", "Trainings", "Mean", "Standard deviation", "First training", "First training ±"]
    note = "Closed-ended average of rl2. One training shows no spread: name more seeds here, in 04_sft and in 05_rl."
    return {"trainings": Table(columns, rows, "Spread between trainings", note)} if rows else {}


def fill_cards(study: Study, scores: pd.DataFrame, rubric: pd.DataFrame, judge: str) -> None:
    """Write the scores of every checkpoint of the study into its card.

    Args:
        scores, rubric: as `medpsy.report.scored` and `medpsy.report.rubric_scored` return them.
        judge: whose HealthBench scores are written.
    """
    judged = overall(rubric)
    judged = judged[judged["judge"] == judge].set_index("model")
    for name, rows in scores.groupby("model", sort=False):
        folder = study.models_dir / str(name)
        if not (folder / "README.md").is_file():
            continue
        known = {row.title: (row.score, row.margin) for row in rows.itertuples()}
        if name in judged.index:
            known[judged.at[name, "suite_title"]] = tuple(judged.loc[name, ["score", "margin"]])
        enter_scores(folder, known)
