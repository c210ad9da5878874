"""Tables of the training stages as the report prints them: scores and differences in turn, ours beside published.

Arranges numbers of `medpsy.report.progression`. Published numbers of other models are shown for the sign of their
differences only, never as values.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from medpsy import published
from medpsy.report import compare, rubric_tables, tables
from medpsy.report.display import MARGIN, Table, table
from medpsy.report.progression import HEALTHBENCH, Progression, stage_scores
from medpsy.report.rubric_scores import MAIN
from medpsy.report.scores import PUBLISHED_RUNS
from medpsy.report.stages import BACKBONE, TOTAL, Ladder
from medpsy.study import Study

Row = tuple[str, pd.DataFrame]  # name of a row; its values by measure: score or difference, and margin


def stage_table(study: Study, found: Progression, *, title: str = "") -> Table:
    """Return the class's table as the report has it: a row per stage, what it added below, the total last.

    Columns are those of the published table, whose rows stand below ours.
    """
    printed = published.table(found.ladder.table)
    rows = [*_ours(found)]
    shown = [name for name in printed if any(name in values.index for _, values in rows)]
    frame = pd.DataFrame({"Stage": [name for name, _ in rows], "Source": "ours"})
    for name in shown:
        frame[name] = [values.iloc[:, 0].get(name, np.nan) for _, values in rows]
        frame[name + MARGIN] = [values["margin"].get(name, np.nan) for _, values in rows]
    source = "published" if compare.mode(study.profile) == "values" else "published (other models)"
    below = printed[shown].rename_axis("Stage").reset_index().assign(Source=source)
    links = {name: [*(_link(found.ladder, row, name) for row, _ in rows), *[None] * len(below)] for name in shown}
    note = "Points, 95 % margins; differences are paired by question or conversation."
    whole = pd.concat([frame, below], ignore_index=True)
    return table(whole, title or f"Stages of the {found.ladder.size} class", note=note, links=links)


def step_table(study: Study, found: Progression, *, title: str = "") -> Table:
    """Return one row per step and measure: the paired difference, its p-value, and the published difference.

    Where other models stand in, the verdict is that of the published sign.
    """
    rows, printed = [], {step.name: step.printed for step in found.ladder.steps}
    for gap in found.gaps.itertuples():
        value = found.printed(printed[gap.step], gap.measure)
        margin = gap.margin if found.enough(gap.measure) else None
        verdict = compare.verdict(compare.Measured(value, gap.difference, margin, difference=True), study.profile)
        ours = {"Step": gap.step, "Suite": gap.measure, "Ours": gap.difference, "Ours" + MARGIN: gap.margin}
        rows.append(ours | {"p (Holm)": gap.p_holm, "Published": value, "Verdict": verdict})
    note = (
        "Points, 95 % margins, paired by question or conversation; p corrected (Holm) for all steps and suites of the "
        "class."
    )
    if compare.mode(study.profile) == "patterns":
        note += " Published differences are those of other models: their sign is tested, zero meaning no change."
    return table(pd.DataFrame(rows), title or f"What each stage adds, {found.ladder.size} class", note=note)


def stage_beside(
    study: Study, found: Progression, graded: pd.DataFrame, judged: pd.DataFrame, *, title: str = ""
) -> Table:
    """Return every score beside the published one, with gap and verdict; empty where other models stand in."""
    title = title or f"Stages beside the published scores, {found.ladder.size} class"
    columns = ["Stage", "Suite", "Ours", "Ours" + MARGIN, "Published", "Gap", "Verdict"]
    if compare.mode(study.profile) == "patterns":
        note = "Other models than the published ones: values cannot be tested."
        return table(pd.DataFrame(columns=columns), title, note=note)
    models = list(found.ladder.models.values())
    graded, judged = graded[graded["model"].isin(models)], judged[judged["model"].isin(models)]
    scores = stage_scores(
        study, found.ladder, graded, judged[judged["judge"] == found.judge], published_runs=PUBLISHED_RUNS
    )
    rows = []
    for one in scores.itertuples():
        value = found.printed(found.ladder.rows[one.stage], one.measure)
        verdict = compare.value_verdict(value, one.score, one.margin)
        gap = one.score - value if compare.known(value) else np.nan
        rows.append((one.stage, one.measure, one.score, one.margin, value, gap, verdict))
    note = "95 % margin of the gap; that of HealthBench is of conversations drawn anew, and never too narrow."
    return table(pd.DataFrame(rows, columns=columns), title, note=note)


def _ours(found: Progression) -> Iterator[Row]:
    """Yield score rows and difference rows in turn, the total difference last."""
    steps = {step.after: step.name for step in found.ladder.steps if step.name != TOTAL}
    for stage in found.ladder.models:
        own = found.scores[found.scores["stage"] == stage].set_index("measure")
        yield (stage if stage == BACKBONE else f"+ {stage}"), own[["score", "margin"]]
        if stage in steps:
            yield steps[stage], _differences(found, steps[stage])
    yield TOTAL, _differences(found, TOTAL)


def _differences(found: Progression, step: str) -> pd.DataFrame:
    return found.gaps[found.gaps["step"] == step].set_index("measure")[["difference", "margin"]]


def _link(ladder: Ladder, row: str, measure: str) -> str | None:
    """Return the filter of the responses behind a score; a difference has no responses of its own."""
    model = ladder.models.get(row.removeprefix("+ "))
    if model is None:
        return None
    return rubric_tables.link(model, MAIN) if measure == HEALTHBENCH else tables.link(model, measure)
