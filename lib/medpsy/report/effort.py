"""What stood behind a measured claim, kept in the record so that the ledger can plan how to settle it.

How much of a claim's uncertainty is run noise is found by evaluating it on tables that differ by run noise alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medpsy.benchmarks import SUITES
from medpsy.published import Claim
from medpsy.report.compare import mode
from medpsy.report.scores import TITLES, keyed
from medpsy.scoring import AVERAGE
from medpsy.statistics import Z
from medpsy.study import Study

DRAWS = 200  # tables with fresh run noise; the share they give is known to a tenth of itself
AVERAGE_TITLE = TITLES[AVERAGE]
Draw = Mapping[str, Mapping[str, Mapping[str, float]]]  # published table -> row -> column -> score, drawn together
Number = Callable[[Draw], float]  # a claim's number on a draw
Stand = Mapping[str, str]  # model -> row of a published table


@dataclass(frozen=True)
class Effort:
    """Questions and runs behind one claim, summed over its suites.

    Args:
        runs: of every question.
        tokens: written per question and run by all models of the claim together; reading and judging not counted.
        run_share: share of the squared margin that is run noise (0 to 1); None where one run cannot tell.
        suite: questions there are in all; None where new ones can be written or a sample was asked.
        share: of a rank, share of bootstrap samples in which it holds (0 to 1).
    """

    questions: int
    runs: int
    tokens: float
    run_share: float | None = None
    suite: int | None = None
    share: float | None = None


@dataclass(frozen=True)
class Design:
    """The graded questions behind the claims of one table, and tables that differ from the measured one by run noise.

    Args:
        rows: questions with a key; columns as `medpsy.evaluate.closed_ended` returns them.
        models: row of the published table -> model of the study.
        noisy: draws in points; empty where one run cannot tell.
        whole: whether all questions of the published suites were asked.
    """

    rows: pd.DataFrame
    models: Mapping[str, str]
    noisy: list[Draw]
    whole: bool

    def effort(
        self,
        claim: Claim,
        number: Number | None = None,
        *,
        margin: float | None = None,
        share: float | None = None,
    ) -> Effort:
        """Return what stood behind `claim`.

        Args:
            number: evaluates the claim on one of `noisy`; not of a rank, which has no margin.
            margin: its 95 % margin, in the unit of the claim.
            share: see `Effort`.
        """
        cells = [cell for operand in claim.operands for cell in operand.cells()]
        titles = {cell.column for cell in cells}
        suites = [key for key in SUITES if titles & {TITLES[key], AVERAGE_TITLE}]
        models = {self.models[cell.row] for cell in cells}
        rows = self.rows[self.rows["suite"].isin(suites) & self.rows["model"].isin(models)]
        questions = len(rows[["suite", "question_id"]].drop_duplicates())
        return spent(rows, questions, self.noisy, number, margin=margin, share=share, whole=self.whole)


@dataclass(frozen=True)
class RubricDesign:
    """The judged conversations behind the claims of a HealthBench table; how much is run noise is not told apart.

    Args:
        rows: of the table's suite; columns as `medpsy.open_ended.open_ended` returns them.
        models: row of the published table -> model of the study.
    """

    rows: pd.DataFrame
    models: Mapping[str, str]

    def effort(
        self,
        claim: Claim,
        number: Number | None = None,
        *,
        margin: float | None = None,
        share: float | None = None,
    ) -> Effort:
        """Return what stood behind `claim`, a question being a conversation; arguments as of `Design.effort`."""
        models = {self.models[cell.row] for operand in claim.operands for cell in operand.cells()}
        rows = self.rows[self.rows["model"].isin(models)].drop_duplicates("key")
        return spent(rows, rows["conversation_id"].nunique(), share=share)


def spent(
    rows: pd.DataFrame,
    questions: int,
    noisy: Sequence[Draw] = (),
    number: Number | None = None,
    *,
    margin: float | None = None,
    share: float | None = None,
    whole: bool = False,
) -> Effort:
    """Return what stood behind a claim that rests on `rows`, one per response; further arguments as of `Design`."""
    tokens = float(rows.groupby("model")["completion_tokens"].mean().sum())
    noise = run_share(noisy, number, margin) if number and margin else None
    return Effort(questions, rows["run"].nunique(), tokens, noise, questions if whole else None, share)


def drawn_rows(tables: Mapping[str, Sequence[pd.DataFrame]]) -> list[Draw]:
    """Return the k-th frames of all tables together, as plain rows: single cells of a frame are slow to read."""
    names, together = list(tables), zip(*tables.values(), strict=True)
    return [dict(zip(names, (one.to_dict("index") for one in frames), strict=True)) for frames in together]


def run_share(noisy: Sequence[Draw], number: Number, margin: float) -> float | None:
    """Return the share of the squared `margin` that run noise makes up, None where `noisy` is empty."""
    if not noisy:
        return None
    spread = np.var([number(one) for one in noisy], ddof=1)
    return float(min(1.0, spread / (margin / Z) ** 2))


def design(study: Study, graded: pd.DataFrame, measured: pd.DataFrame, table: str, stands_for: Stand) -> Design:
    """Return the design behind `measured`, the scores of published `table` made of `graded` (rows as published)."""
    rows = keyed(graded[graded["model"].isin(stands_for)])
    noisy = drawn_rows({table: noisy_tables(rows, measured, stands_for)})
    return Design(rows, {row: model for model, row in stands_for.items()}, noisy, whole_suites(study))


def whole_suites(study: Study) -> bool:
    """Return whether `study` asks all questions of the published suites."""
    return mode(study.profile) == "values" and study.questions_per_suite == 0


def noisy_tables(rows: pd.DataFrame, measured: pd.DataFrame, stands_for: Stand, *, seed: int = 0) -> list[pd.DataFrame]:
    """Return `DRAWS` tables like `measured` that differ from it by run noise alone; none where one run cannot tell.

    Args:
        rows: graded questions with a key, as `medpsy.report.scores.keyed` returns them.
    """
    return _noisy(measured, _run_variances(rows, stands_for), np.random.default_rng(seed))


def _run_variances(rows: pd.DataFrame, stands_for: Stand) -> pd.DataFrame:
    """Return the variance that run noise gives each score (squared points), [models, suites]; NaN with one run."""
    by = ["model", "suite", "weight_group"]
    runs = rows.dropna(subset="right").groupby([*by, "question_id"])["right"].agg(["var", "count"])
    groups = (runs["var"] / runs["count"]).groupby(by).agg(lambda found: found.mean() / len(found))
    suites = groups.groupby(["model", "suite"]).agg(lambda found: found.mean() / len(found))
    return (1e4 * suites).unstack("suite").rename(index=dict(stands_for), columns=TITLES)


def _noisy(measured: pd.DataFrame, variances: pd.DataFrame, generator: np.random.Generator) -> list[pd.DataFrame]:
    """Return `measured` with run noise added to every suite, the average following from them."""
    suites = [name for name in measured if name != AVERAGE_TITLE]
    spread = np.sqrt(variances.reindex(index=measured.index, columns=suites).to_numpy())
    if not np.isfinite(spread).all():
        return []
    drawn = measured[suites].to_numpy() + generator.normal(size=(DRAWS, *spread.shape)) * spread
    if AVERAGE_TITLE in measured:
        drawn = np.concatenate([drawn, drawn.mean(axis=-1, keepdims=True)], axis=-1)
        suites = [*suites, AVERAGE_TITLE]
    return [pd.DataFrame(one, index=measured.index, columns=suites) for one in drawn]
