"""The published claims that rest on Tables 1 to 4 and the table of the model card, measured on results drawn together.

Which of our scores stands in which printed cell is said in one place, `layout`; scores of HealthBench have a place only
under a judge that is one of the report's, or plays its part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medpsy import published
from medpsy.published import SUITE_TITLES, THEMES, Claim
from medpsy.report.effort import Draw, Effort, Number, noisy_tables, spent, whole_suites
from medpsy.report.main_draws import AVERAGE_TITLE, CLOSED, WHOLE, MainDraws, Measure
from medpsy.report.main_models import SizeClass, stands_for
from medpsy.report.remeasured import from_draws, rests_on
from medpsy.report.responsibility import responsible
from medpsy.report.scores import keyed
from medpsy.study import Study

SECTION = "07_main_results"
TABLE_1 = "table01_closed_ended"
TABLE_2 = "table02_healthbench_overall_three_judges"
THEME_TABLES = {
    "healthbench": "table03_healthbench_dimensions",
    "healthbench_hard": "table04_healthbench_hard_dimensions",
}
THEME_JUDGE = "CompassJudger-2-32B"  # report 4.1.2: the judge of everything by theme
SPLITS = {"healthbench": "HealthBench", "healthbench_hard": "HealthBench-Hard"}  # as the columns of Table 2 say it
CARD = "card_medpsy4b_benchmarks"
BLOCKS = {
    CLOSED: "Closed-Ended Medical Benchmarks",
    "healthbench": "HealthBench",
    "healthbench_hard": "HealthBench Hard",
}  # part -> what the card calls it
TEACHERS = "teacher_closed_ended"

Place = tuple[str, Measure]  # model and measure behind a printed cell
Layout = Mapping[str, Mapping[str, Mapping[str, Place]]]  # published table -> row -> column -> what stands there


@dataclass(frozen=True)
class MainDesign:
    """What stood behind the measured main results.

    Args:
        noisy: draws that differ from the measured scores of the suites by run noise alone; none where one run cannot
            tell, and never of HealthBench.
        whole: whether all questions of the published suites were asked.
    """

    drawn: MainDraws
    layout: Layout
    noisy: list[Draw]
    whole: bool

    def effort(
        self, claim: Claim, number: Number | None = None, *, margin: float | None = None, share: float | None = None
    ) -> Effort:
        """Return what stood behind `claim`; arguments as of `medpsy.report.effort.Design.effort`."""
        cells = [cell for operand in claim.operands for cell in operand.cells()]
        places = {self.layout[cell.table][cell.row][cell.column] for cell in cells}
        models, measures = {model for model, _ in places}, {measure for _, measure in places}
        rows, questions = self.drawn.behind(measures, models), self.drawn.questions(measures, models)
        closed = all(measure.part == CLOSED for measure in measures)
        noisy = self.noisy if closed else ()
        return spent(rows, questions, noisy, number, margin=margin, share=share, whole=closed and self.whole)


def main_claims(
    study: Study,
    drawn: MainDraws,
    graded: pd.DataFrame,
    classes: Sequence[SizeClass],
    *,
    judge_columns: Mapping[str, str],
    teacher: Mapping[str, str],
) -> list[dict]:
    """Return one row per published claim that this section answers for, for a result's `claims`.

    Args:
        graded: the rows that the suites of `drawn` were made of.
        judge_columns: judge -> judge of Table 2 that it is, or whose part it plays.
        teacher: model -> row of the report's table of teachers, likewise.
    """
    places = layout(drawn, stands_for(classes), judge_columns, teacher)
    chosen = [one for one in published.claims() if responsible(one).notebook == SECTION and rests_on(one, places)]
    design = MainDesign(drawn, places, _noisy(drawn, graded, places), whole_suites(study))
    return from_draws(study.profile, [filled(places, drawn, values) for values in drawn.values], design, chosen)


def layout(
    drawn: MainDraws, parts: Mapping[str, str], judge_columns: Mapping[str, str], teacher: Mapping[str, str]
) -> Layout:
    """Return what of `drawn` stands in which printed cell.

    Args:
        parts: model -> row of the published tables that it is, or whose part it plays; others as of `main_claims`.
    """
    suites = {title: Measure(title) for title in (*SUITE_TITLES, AVERAGE_TITLE)}
    panel = {
        f"{printed} | {name}": Measure(WHOLE, part, judge)
        for judge, printed in judge_columns.items()
        for part, name in SPLITS.items()
    }
    judge = {printed: judge for judge, printed in judge_columns.items()}.get(THEME_JUDGE, "")
    themes = {part: {title: Measure(title, part, judge) for title in (WHOLE, *THEMES)} for part in THEME_TABLES}
    found = {TABLE_1: _rows(TABLE_1, drawn, parts, suites), TABLE_2: _rows(TABLE_2, drawn, parts, panel)}
    found |= {table: _rows(table, drawn, parts, themes[part]) for part, table in THEME_TABLES.items()}
    found |= {TEACHERS: _rows(TEACHERS, drawn, teacher, suites)}
    return found | {CARD: _card(drawn, parts, {CLOSED: suites} | themes)}


def filled(places: Layout, drawn: MainDraws, values: np.ndarray) -> Draw:
    """Return `values` [models, measures] of one sample as the published tables have them."""
    models = {name: at for at, name in enumerate(drawn.models)}
    measures = {measure: at for at, measure in enumerate(drawn.measures)}
    return {
        table: {
            row: {column: values[models[model], measures[measure]] for column, (model, measure) in cells.items()}
            for row, cells in rows.items()
        }
        for table, rows in places.items()
    }


def _rows(
    table: str, drawn: MainDraws, parts: Mapping[str, str], columns: Mapping[str, Measure]
) -> dict[str, dict[str, Place]]:
    printed = published.table(table).index
    known = {column: measure for column, measure in columns.items() if measure in drawn.measures}
    models = {row: model for model, row in parts.items() if model in drawn.models and row in printed}
    return {row: {column: (model, measure) for column, measure in known.items()} for row, model in models.items()}


def _card(
    drawn: MainDraws, parts: Mapping[str, str], blocks: Mapping[str, Mapping[str, Measure]]
) -> dict[str, dict[str, Place]]:
    """Return the table of the card, which has measures in rows and models in columns; unmeasured rows are left out."""
    printed = published.table(CARD).columns
    models = {row: model for model, row in parts.items() if model in drawn.models and row in printed}
    return {
        f"{BLOCKS[part]} | {title}": {row: (model, measure) for row, model in models.items()}
        for part, columns in blocks.items()
        for title, measure in columns.items()
        if measure in drawn.measures
    }


def _noisy(drawn: MainDraws, graded: pd.DataFrame, places: Layout) -> list[Draw]:
    """Return draws of all tables in which the suites differ from the measured ones by run noise alone."""
    suites = [measure.title for measure in drawn.measures if measure.part == CLOSED]
    measured = pd.DataFrame(drawn.values[0, :, : len(suites)], index=drawn.models, columns=suites)
    frames = noisy_tables(keyed(graded), measured, {name: name for name in drawn.models})
    return [filled(places, drawn, _with_suites(drawn.values[0], frame[suites].to_numpy())) for frame in frames]


def _with_suites(values: np.ndarray, suites: Sequence[Sequence[float]]) -> np.ndarray:
    suites = np.asarray(suites)
    return np.concatenate([suites, values[:, suites.shape[1] :]], axis=1)
