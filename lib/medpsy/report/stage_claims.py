"""The published claims that rest on the stage tables, measured: both classes and HealthBench drawn together.

A claim may rest on suites, on HealthBench, on differences between stages, and on both tables at once; the same
questions and conversations are drawn for all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medpsy import published
from medpsy.published import SUITE_TITLES, Claim
from medpsy.report.effort import AVERAGE_TITLE, Draw, Effort, Number, drawn_rows, noisy_tables, spent, whole_suites
from medpsy.report.progression import HEALTHBENCH, Progression
from medpsy.report.remeasured import from_draws, rests_on
from medpsy.report.responsibility import PRINTED
from medpsy.report.rubric_scores import MAIN
from medpsy.report.scores import TITLES, keyed
from medpsy.report.stages import Ladder
from medpsy.study import Study


@dataclass(frozen=True)
class StageDesign:
    """What stood behind the measured stage tables.

    Args:
        asked: one row per response: ``model``, ``column`` (of the published table), ``id``, ``run``,
            ``completion_tokens``.
        models: (published table, its row) -> the models whose scores the row holds; two for a difference.
        noisy: draws that differ from the measured scores of the suites by run noise alone; none where one run cannot
            tell, and never of HealthBench.
        whole: whether all questions of the published suites were asked.
    """

    asked: pd.DataFrame
    models: Mapping[tuple[str, str], Sequence[str]]
    noisy: list[Draw]
    whole: bool

    def effort(
        self, claim: Claim, number: Number | None = None, *, margin: float | None = None, share: float | None = None
    ) -> Effort:
        """Return what stood behind `claim`; arguments as of `medpsy.report.effort.Design.effort`."""
        cells = [cell for operand in claim.operands for cell in operand.cells()]
        columns = {cell.column for cell in cells}
        models = {model for cell in cells for model in self.models[cell.table, cell.row]}
        if AVERAGE_TITLE in columns:
            columns |= set(SUITE_TITLES)
        rows = self.asked[self.asked["model"].isin(models) & self.asked["column"].isin(columns)]
        questions, closed = len(rows[["column", "id"]].drop_duplicates()), HEALTHBENCH not in columns
        noisy = self.noisy if closed else ()
        return spent(rows, questions, noisy, number, margin=margin, share=share, whole=closed and self.whole)


def stage_claims(study: Study, found: Sequence[Progression], graded: pd.DataFrame, judged: pd.DataFrame) -> list[dict]:
    """Return one row per published claim that rests on the stage tables alone, for a result's `claims`.

    Args:
        graded, judged: the rows that `found` was made of.
    """
    tables = {one.ladder.table for one in found}
    chosen = [one for one in published.claims() if rests_on(one, tables) and one.kind != PRINTED]
    frames = {one.ladder.table: [_frame(one, scores) for scores in one.drawn] for one in found}
    return from_draws(study.profile, drawn_rows(frames), _design(study, found, graded, judged), chosen)


def _frame(found: Progression, scores: np.ndarray) -> pd.DataFrame:
    """Return `scores` [stages, measures] as the published table has them; HealthBench only of a comparable judge."""
    frame = pd.DataFrame(scores, index=list(found.ladder.models), columns=found.measures)
    hidden = [] if found.comparable else [HEALTHBENCH]
    return with_differences(frame.drop(columns=hidden, errors="ignore"), found.ladder)


def with_differences(frame: pd.DataFrame, ladder: Ladder) -> pd.DataFrame:
    """Return `frame` (index: stages) with rows as published, those of the differences below."""
    values = frame.to_numpy()
    place = {stage: number for number, stage in enumerate(frame.index)}
    changes = [values[place[step.after]] - values[place[step.before]] for step in ladder.steps]
    rows = [ladder.rows[stage] for stage in frame.index] + [step.printed for step in ladder.steps]
    return pd.DataFrame(np.vstack([values, *changes]), index=rows, columns=frame.columns)


def _design(study: Study, found: Sequence[Progression], graded: pd.DataFrame, judged: pd.DataFrame) -> StageDesign:
    models, noisy = {}, {}
    for one in found:
        ladder, table = one.ladder, one.ladder.table
        models |= {(table, ladder.rows[stage]): (model,) for stage, model in ladder.models.items()}
        ends = {step.printed: (ladder.models[step.before], ladder.models[step.after]) for step in ladder.steps}
        models |= {(table, row): pair for row, pair in ends.items()}
        stages = {model: stage for stage, model in ladder.models.items()}
        rows = keyed(graded[graded["model"].isin(stages)])
        measured = pd.DataFrame(one.drawn[0], index=list(ladder.models), columns=one.measures)
        measured = measured.drop(columns=HEALTHBENCH, errors="ignore")
        noisy[table] = [with_differences(frame, ladder) for frame in noisy_tables(rows, measured, stages)]
    draws = drawn_rows(noisy) if all(noisy.values()) else []
    return StageDesign(_asked(graded, judged, found[0].judge), models, draws, whole_suites(study))


def _asked(graded: pd.DataFrame, judged: pd.DataFrame, judge: str) -> pd.DataFrame:
    closed = keyed(graded).assign(column=lambda rows: rows["suite"].map(TITLES)).rename(columns={"question_id": "id"})
    rows = judged[(judged["judge"] == judge) & (judged["suite"] == MAIN)].drop_duplicates(["model", "key"])
    opened = rows.assign(column=HEALTHBENCH).rename(columns={"conversation_id": "id"})
    names = ["model", "column", "id", "run", "completion_tokens"]
    return pd.concat([closed[names], opened[names]], ignore_index=True)
