"""What three runs can resolve: margins of the published scores, and the backbone that was measured twice.

The report prints no interval. Everything here follows from printed scores and the sample sizes of `sample_sizes.csv`,
and assumes that questions are independent. Margins are 95 % half widths in points.
"""

from math import sqrt

import pandas as pd
from scipy.special import chdtri

from medpsy.published.cells import SUITE_TITLES, grid, known, table
from medpsy.published.granularity import SampleSize, sample_sizes

Z = 1.96  # 95 % of a normal distribution
BACKBONE = "Qwen3-4B-Thinking-2507"


def margins(model: str = "MedPsy-4B", *, runs: int = 3, share: float = 1.0) -> pd.DataFrame:
    """Return what the published scores of `model` (a row of Table 1) can resolve, per suite and for the Average.

    Args:
        runs: how many runs every score is the mean of.
        share: part of the coin-flip variance p(1-p) of an answer that is run noise; 1 is the upper bound.

    Columns: score; questions; `same questions`: distance to the mean of endlessly many runs; `rerun`: distance to
    another set of `runs` runs; `new questions`: distance to the score on all questions of the same kind, an upper
    bound that no number of runs lowers.
    """
    scores = _scores(model)
    rows = []
    for title, score in scores.items():
        run, question = share * _variance(title, scores, runs), _variance(title, scores, 1)
        rows.append(
            {
                "suite": title,
                "score": score,
                "questions": sum(size.questions for size in _used() if title in (size.suite, "Average")),
                "same questions": Z * sqrt(run),
                "rerun": Z * sqrt(2 * run),
                "new questions": Z * sqrt(question),
            }
        )
    return pd.DataFrame(rows)


def leads(first: str, second: str, *, runs: int = 3, share: float = 1.0) -> pd.DataFrame:
    """Return the lead of one row of Table 1 over another, with the margins that noise allows it.

    Columns: suite, lead, `run margin` (same questions; `share` as in `margins`), `question margin` (other questions,
    taking the models as independent: an upper bound), reading (``"beyond both"``, ``"beyond run noise"`` or
    ``"within run noise"``).
    """
    ours, theirs = _scores(first), _scores(second)
    rows = []
    for title in ours:
        lead = ours[title] - theirs[title]
        run = Z * sqrt(share * (_variance(title, ours, runs) + _variance(title, theirs, runs)))
        question = Z * sqrt(_variance(title, ours, 1) + _variance(title, theirs, 1))
        reading = "within run noise" if abs(lead) <= run else "beyond run noise"
        rows.append(
            {
                "suite": title,
                "lead": lead,
                "run margin": run,
                "question margin": question,
                "reading": "beyond both" if abs(lead) > question else reading,
            }
        )
    return pd.DataFrame(rows)


def backbone_twice(*, runs: int = 3) -> pd.DataFrame:
    """Return the 4B backbone's two published measurements per suite, and the spread that run noise would bound.

    Columns: suite, table 1, table 6, difference, `coin flips` (standard deviation of the difference if every answer
    were redrawn by chance in every run), ratio (difference over it).
    """
    first = table("table01_closed_ended").loc[BACKBONE]
    second = table("table06_stages_4b").loc[f"{BACKBONE} backbone"]
    rows = []
    for title in SUITE_TITLES:
        spread = sqrt(2 * _variance(title, {title: (first[title] + second[title]) / 2}, runs))
        gap = second[title] - first[title]
        rows.append(
            {
                "suite": title,
                "table 1": first[title],
                "table 6": second[title],
                "difference": gap,
                "coin flips": spread,
                "ratio": gap / spread,
            }
        )
    return pd.DataFrame(rows)


def run_noise_share(*, runs: int = 3) -> tuple[float, float, float]:
    """Return the share of coin-flip variance that the backbone's two measurements show, with a 95 % interval.

    The mean of the seven squared ratios of `backbone_twice`; a chi-square distribution of seven gives the interval.
    """
    squares = backbone_twice(runs=runs)["ratio"] ** 2
    total, count = float(squares.sum()), len(squares)
    return (total / count, total / float(chdtri(count, 0.025)), total / float(chdtri(count, 0.975)))


def _scores(model: str) -> dict[str, float]:
    """Return the row of `model` in Table 1, suites first, Average last."""
    row = known(grid("table01_closed_ended"), model, "row in Table 1")
    return {title: float(row[title].number) for title in (*SUITE_TITLES, "Average")}


def _used() -> list[SampleSize]:
    return [size for size in sample_sizes() if size.used]


def _variance(title: str, scores: dict[str, float], runs: int) -> float:
    """Return the variance, in squared points, of a mean over `runs` runs if every answer is a coin flip with the score.

    With one run this is also the variance from drawing the questions.
    """
    if title == "Average":
        return sum(_variance(suite, scores, runs) for suite in SUITE_TITLES) / len(SUITE_TITLES) ** 2
    p = scores[title] / 100
    questions = next(size.effective for size in _used() if size.suite == title)
    return 10_000 * p * (1 - p) / (questions * runs)
