"""What the order of the models owes to the judge, and to criteria that no judge decided.

Ranks are those of scores drawn together (`medpsy.report.main_draws`); ranges of scores are those of
`medpsy.grading.rubric`. Verdicts in sentences; asks no judge anything.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medpsy.report import compare
from medpsy.report.display import Table, table
from medpsy.report.main_claims import SPLITS
from medpsy.report.main_draws import WHOLE, MainDraws, Measure
from medpsy.report.orders import LEAST
from medpsy.report.rubric_scores import MAIN, overall
from medpsy.study import Study


def judge_rank_table(study: Study, drawn: MainDraws, models: Sequence[str]) -> Table:
    """Return the rank of every model of `models` under each judge, with the range of 95 % of bootstrap samples."""
    rows = []
    for part in [part for part in SPLITS if any(one.part == part for one in drawn.measures)]:
        judges = _judges(drawn, part)
        ranks = {judge: _ranks(drawn, models, Measure(WHOLE, part, judge)) for judge in judges}
        order = np.argsort(ranks[judges[0]][0], kind="stable")
        for place in order:
            row = {"Suite": SPLITS[part].replace("-", " "), "Model": study.model(models[place]).label}
            for judge in judges:
                own = ranks[judge][:, place]
                low, high = np.quantile(own[1:], (0.025, 0.975))
                label = study.model(judge).label
                row |= {label: int(own[0]), f"{label}, 95 %": f"{low:.0f} to {high:.0f}"}
            rows.append(row)
    note = "Rank among these models, best first; the range holds 95 % of bootstrap samples of the conversations."
    return table(pd.DataFrame(rows), "Rank under each judge", note=note)


def judge_verdict(study: Study, drawn: MainDraws, models: Sequence[str], part: str = MAIN) -> dict:
    """Return the verdict on whether the order of `models` is the same under every judge.

    It holds where all judges set every pair of models in the same order beyond its margin, and fails where two judges
    set one in opposite orders beyond theirs.
    """
    measures = [Measure(WHOLE, part, judge) for judge in _judges(drawn, part)]
    pairs = list(combinations(models, 2))
    signs = np.array([[_sign(drawn.lead(*pair, measure)) for measure in measures] for pair in pairs])
    settled = int((np.abs(signs.sum(axis=1)) == len(measures)).sum())
    reversed_ = [pair for pair, row in zip(pairs, signs, strict=True) if {1, -1} <= set(row)]
    verdict = "pattern fails" if reversed_ else "pattern holds" if settled == len(pairs) else "too few to tell"
    text = f"Every judge orders the models alike on {SPLITS[part].replace('-', ' ')}: {settled} of {len(pairs)} pairs"
    text += " in the same order beyond the margin of each judge"
    if len(measures) < 2:
        return {"text": text, "verdict": "not testable", "note": "one judge alone"}
    if drawn.questions(measures, models) < LEAST:
        return {"text": text, "verdict": "too few to tell", "note": "too few conversations for margins"}
    names = "; ".join(" and ".join(study.model(name).label for name in pair) for pair in reversed_)
    note = f"two judges disagree beyond their margins on {names}" if names else "no pair is reversed beyond its margins"
    return {"text": text, "verdict": verdict, "note": note}


def unjudged_verdict(rubric: pd.DataFrame, models: Sequence[str], suite: str = MAIN) -> dict:
    """Return the verdict on whether criteria without a verdict could change the order of `models` under any judge.

    Args:
        rubric: as `medpsy.report.rubric_scored` returns it.
    """
    rows = overall(rubric, suite)
    rows = rows[rows["model"].isin(list(models))]
    widest, open_pairs = (rows["high"] - rows["low"]).max(), []
    for label, under in rows.groupby("judge_label", sort=False):
        for first, second in combinations(under.sort_values("score", ascending=False).itertuples(), 2):
            if first.low <= second.high and first.score != second.score:
                open_pairs.append(f"{first.label} and {second.label} ({label})")
    text = f"Unjudged criteria cannot change the order of the models on {SPLITS[suite].replace('-', ' ')}"
    found = {"text": f"{text}: they leave at most {widest:.2f} points of a score open"}
    if not compare.known(float(widest)):
        return found | {"verdict": "not testable", "note": "nothing was judged"}
    note = f"open: {'; '.join(open_pairs)}" if open_pairs else "the ranges of no two models overlap"
    return found | {"verdict": "too few to tell" if open_pairs else "pattern holds", "note": note}


def _judges(drawn: MainDraws, part: str) -> list[str]:
    return [one.judge for one in drawn.measures if one.part == part and one.title == WHOLE]


def _ranks(drawn: MainDraws, models: Sequence[str], measure: Measure) -> NDArray[np.int64]:
    """Return the rank of each model in each sample, [1 + replicates, models]; equal scores share the better rank."""
    scores = np.stack([drawn.of(name, measure) for name in models], axis=1)
    return 1 + (scores[:, None, :] > scores[:, :, None]).sum(axis=2)


def _sign(lead: NDArray[np.float64]) -> int:
    """Return 1 or -1 where nearly all samples of a lead have that sign, 0 where they do not say."""
    low, high = np.quantile(lead[1:], (0.025, 0.975))
    return 1 if low > 0 else -1 if high < 0 else 0
