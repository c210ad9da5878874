"""Mean lengths of responses, measured and drawn anew: the numbers behind the tables and claims on token efficiency.

Questions are drawn within their suite, the same ones for every model, so that ratios are paired. Means over suites are
weighted by the questions a suite has (report 4.6: by the number of samples per benchmark), however many were asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medpsy import evaluate, open_ended
from medpsy.benchmarks import OPEN_SUITES, SUITES
from medpsy.grading.outcomes import OUTCOMES
from medpsy.report.orders import LEAST
from medpsy.report.remeasured import REPLICATES
from medpsy.report.stages import BACKBONE, LAST, Ladder
from medpsy.statistics import interval
from medpsy.study import Study

SUITE_NAMES = {key: spec.title for key, spec in (SUITES | OPEN_SUITES).items()}
TOKENS, REASONING, CUT_OFF, FINISHED = "tokens", "reasoning", "cut_off", "finished"
Values = NDArray[np.float64]  # [1 + replicates]: measured, then bootstrap samples


@dataclass(frozen=True)
class LengthDraws:
    """Mean lengths of the models of all ladders.

    Args:
        rows: as `medpsy.lengths.of_responses` returns them.
        ladders: size class -> its models.
        asked: suite -> questions that every model answered; only these count.
        weights: suite -> questions it has.
        places: (quantity, model) -> place in `drawn`. Quantities are per question, the mean over its runs: `TOKENS`,
            `REASONING`, `CUT_OFF` (share of runs), an outcome (share of runs), and tokens of the responses of that
            outcome, as ``"tokens wrong"``; `FINISHED` (1 where both ends of the ladder were never cut off), and
            tokens of those alone.
        drawn: suite -> [1 + replicates, quantities].
    """

    rows: pd.DataFrame
    ladders: Mapping[str, Ladder]
    asked: Mapping[str, int]
    weights: Mapping[str, int]
    places: Mapping[tuple[str, str], int]
    drawn: Mapping[str, NDArray[np.float64]]

    @property
    def suites(self) -> list[str]:
        return list(self.drawn)

    @property
    def closed(self) -> list[str]:
        return [suite for suite in self.suites if suite in SUITES]

    def mean(self, model: str, quantity: str = TOKENS, suites: Sequence[str] | None = None) -> Values:
        """Return the mean of a quantity over `suites` (all by default), weighted by their questions."""
        suites = self.suites if suites is None else suites
        place = self.places[quantity, model]
        weights = np.array([self.weights[suite] for suite in suites], dtype=float)
        return np.stack([self.drawn[suite][:, place] for suite in suites], axis=1) @ (weights / weights.sum())

    def of_outcome(self, model: str, outcome: str) -> Values:
        """Return the mean tokens of the responses of one outcome to closed-ended questions; NaN where there is none."""
        share = self.mean(model, outcome, self.closed)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.mean(model, f"{TOKENS} {outcome}", self.closed) / share

    def ratio(self, ladder: Ladder, suites: Sequence[str] | None = None, *, quantity: str = TOKENS) -> Values:
        """Return how many times as many tokens the backbone writes as the final model."""
        first, last = (self.mean(ladder.models[stage], quantity, suites) for stage in (BACKBONE, LAST))
        with np.errstate(invalid="ignore", divide="ignore"):
            return first / last

    def finished_ratio(self, ladder: Ladder) -> Values:
        """Return the ratio on the questions that both ends of `ladder` finished in all their runs."""
        return self.ratio(ladder, quantity=f"{TOKENS} {FINISHED}")

    def cut(self, ladder: Ladder, suite: str) -> Values:
        """Return by how many tokens the final model's mean response in `suite` is shorter than the backbone's."""
        return self.mean(ladder.models[BACKBONE], TOKENS, [suite]) - self.mean(ladder.models[LAST], TOKENS, [suite])

    def finished(self, ladder: Ladder) -> int:
        """Return how many questions that are."""
        place = self.places[FINISHED, ladder.models[LAST]]
        return round(sum(self.drawn[suite][0, place] * self.asked[suite] for suite in self.suites))

    def enough(self) -> bool:
        """Return whether enough questions of every suite were asked to speak of suites one by one."""
        return min(self.asked.values()) >= LEAST

    def margin(self, values: Values, suites: Sequence[str] | None = None, *, asked: int | None = None) -> float | None:
        """Return the 95 % margin of what was drawn; None where too few questions stand behind it to speak of one.

        Args:
            asked: how many do; by default all that were asked in `suites`, by default in all of them.
        """
        if asked is None:
            asked = sum(self.asked[suite] for suite in (self.suites if suites is None else suites))
        if asked < LEAST or not np.isfinite(values).all():
            return None
        return interval(values[1:]).margin


def length_draws(study: Study, rows: pd.DataFrame, ladders: Mapping[str, Ladder], *, seed: int = 0) -> LengthDraws:
    """Return the mean lengths of the models of `ladders`.

    Args:
        rows: as `medpsy.lengths.of_responses` returns them.

    Raises:
        ValueError: no question of a suite was answered by every model.
    """
    wide = _per_question(rows, ladders)
    generator = np.random.default_rng(seed)
    drawn, asked = {}, {}
    for suite in [key for key in SUITE_NAMES if key in set(rows["suite"])]:
        if suite not in wide.index:
            raise ValueError(f"suite {suite!r}: no question was answered by every model; run their sections again")
        values = wide.loc[suite].to_numpy()
        drawn[suite], asked[suite] = _resampled(values, generator), len(values)
    places = {name: place for place, name in enumerate(wide.columns)}
    return LengthDraws(rows, ladders, asked, _sizes(study, list(drawn)), places, drawn)


def _per_question(rows: pd.DataFrame, ladders: Mapping[str, Ladder]) -> pd.DataFrame:
    """Return every quantity of every model: (suite, item) by (quantity, model), of questions that all answered."""
    rows = rows.assign(cut_off=rows[CUT_OFF].astype(float))
    for outcome in OUTCOMES:  # one that never came is a share of 0, too
        rows[outcome] = (rows["outcome"] == outcome).astype(float)
        rows[f"{TOKENS} {outcome}"] = rows[outcome] * rows[TOKENS]
    quantities = [name for name in rows if pd.api.types.is_float_dtype(rows[name]) and name != "answer"]
    wide = rows.groupby(["model", "suite", "item"])[quantities].mean().unstack("model")
    wide = wide.dropna(subset=[name for name in wide if name[0] == TOKENS])
    for ladder in ladders.values():
        ends = [ladder.models[BACKBONE], ladder.models[LAST]]
        both = (wide[CUT_OFF][ends] == 0).all(axis=1)
        for model in ends:
            wide[FINISHED, model] = both.astype(float)
            wide[f"{TOKENS} {FINISHED}", model] = wide[TOKENS, model] * both
    return wide


def _resampled(values: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return the means of the columns of `values` [questions, quantities], then those of bootstrap samples."""
    count = len(values)
    weights = generator.multinomial(count, np.full(count, 1 / count), size=REPLICATES)
    return np.vstack([np.ones(count), weights]) @ values / count


def _sizes(study: Study, suites: Sequence[str]) -> dict[str, int]:
    every = evaluate.questions(study, [suite for suite in suites if suite in SUITES], every=True)
    opened = [suite for suite in suites if suite in OPEN_SUITES]
    if opened:
        every = every | open_ended.conversations(replace(study, conversations_per_suite=0), opened)
    return {suite: len(every[suite]) for suite in suites}
