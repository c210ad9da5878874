"""The published claims on response length, measured: means and ratios by their own formulas, shapes of charts by rules.

Figures 4 and 5 print no values, so what the report says of their shape has no formula; `SHAPES` holds the rules. Where
other models stand in, a ratio is tested for being above or below one, and a length not at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medpsy import published
from medpsy.published import Claim
from medpsy.report.effort import Effort, Number, drawn_rows, whole_suites
from medpsy.report.length_draws import LengthDraws, Values
from medpsy.report.orders import entry, order_row
from medpsy.report.remeasured import from_draws, rests_on
from medpsy.report.responsibility import PRINTED
from medpsy.report.rubric_scores import MAIN
from medpsy.report.stages import BACKBONE, LAST, TABLES, Ladder
from medpsy.study import Study

LARGE, SMALL = "token_efficiency_4b", "token_efficiency_1p7b"
Cuts = Mapping[str, Values]  # suite -> tokens by which the final model is shorter than its backbone
Holds = NDArray[np.bool_]  # [1 + replicates]


@dataclass(frozen=True)
class Shape:
    """What a claim says of a chart without values.

    Args:
        table: the published table of the class it speaks of.
        suites: that have to be measured; none where it speaks of all.
        holds: whether it holds, in each draw.
        number: what is shown beside it, or None.
        read: how its words are read, where they can be read in several ways.
    """

    table: str
    suites: tuple[str, ...]
    holds: Callable[[Cuts], Holds]
    number: Callable[[Cuts], float] | None = None
    read: str = ""


def largest(*suites: str) -> Callable[[Cuts], Holds]:
    """Return the rule that `suites` are cut by more tokens than any other."""

    def holds(cuts: Cuts) -> Holds:
        others = [values for suite, values in cuts.items() if suite not in suites]
        return np.min([cuts[suite] for suite in suites], axis=0) > np.max(others, axis=0)

    return holds


def large(*suites: str) -> Callable[[Cuts], Holds]:
    """Return the rule that each of `suites` becomes shorter, and by more than the plain mean over all suites."""

    def holds(cuts: Cuts) -> Holds:
        least = np.min([cuts[suite] for suite in suites], axis=0)
        return (least > np.mean(list(cuts.values()), axis=0)) & (least > 0)

    return holds


def shorter(cuts: Cuts) -> NDArray[np.int64]:
    """Return how many suites become shorter, in each draw."""
    return np.sum([values > 0 for values in cuts.values()], axis=0)


def _number_shorter(cuts: Cuts) -> float:
    return float(shorter(cuts)[0])


HARD = ("medxpertqa", "medqa", "mmlu_pro_health")
ALL = Shape(LARGE, (), lambda cuts: shorter(cuts) == len(cuts), _number_shorter, "ours is the number of suites; ")
MOST = Shape(SMALL, (), lambda cuts: shorter(cuts) > len(cuts) / 2, _number_shorter, "ours is the number of suites; ")
LARGEST = Shape(LARGE, HARD, largest(*HARD))
SHAPES = {  # ids of `medpsy.published.claims`
    "P284": ALL,
    "P285": LARGEST,
    "P290": Shape(
        SMALL, (MAIN,), lambda cuts: cuts[MAIN] < 0, lambda cuts: float(0 - cuts[MAIN][0]), "longer, however little; "
    ),
    "P291": Shape(SMALL, (*HARD, "mmlu_health"), large(*HARD, "mmlu_health"), None, "large: above the suites' mean; "),
    "P294": MOST,
    "P408": LARGEST,
}


@dataclass(frozen=True)
class LengthDesign:
    """What stood behind the measured lengths; how much of a margin is run noise is not told apart.

    Args:
        models: (published table, its column) -> model.
        whole: whether all questions and conversations of the published suites were asked.
    """

    found: LengthDraws
    models: Mapping[tuple[str, str], str]
    whole: bool

    def effort(
        self, claim: Claim, number: Number | None = None, *, margin: float | None = None, share: float | None = None
    ) -> Effort:
        """Return what stood behind `claim`; arguments as of `medpsy.report.effort.Design.effort`."""
        cells = [cell for operand in claim.operands for cell in operand.cells()]
        return self.of({self.models[cell.table, cell.column] for cell in cells}, share)

    def of(self, models: set[str], share: float | None = None) -> Effort:
        """Return what stood behind a claim on `models` over all suites."""
        rows, questions = self.found.rows, sum(self.found.asked.values())
        tokens = float(sum(self.found.mean(model)[0] for model in models))
        return Effort(questions, rows["run"].nunique(), tokens, None, questions if self.whole else None, share)


def length_claims(study: Study, found: LengthDraws) -> list[dict]:
    """Return one row per published claim on response lengths that the classes in `found` can answer for."""
    tables = {name: ladder for ladder in found.ladders.values() for name in _tables(ladder)}
    drawn = drawn_rows({name: _frames(found, name, ladder) for name, ladder in tables.items()})
    models = {
        (name, column): ladder.models[stage]
        for name, ladder in tables.items()
        for column, stage in zip(published.table(name).columns, (BACKBONE, LAST), strict=True)
    }
    whole = whole_suites(study) and study.conversations_per_suite == 0
    behind = LengthDesign(found, models, whole)
    chosen = [one for one in published.claims() if rests_on(one, tables) and one.kind != PRINTED]
    rows = from_draws(study.profile, drawn, behind, chosen)
    shapes = [one for one in published.claims() if one.id in SHAPES and SHAPES[one.id].table in tables]
    return rows + [_shape(one, SHAPES[one.id], tables[SHAPES[one.id].table], behind) for one in shapes]


def _tables(ladder: Ladder) -> list[str]:
    """Return all published tables of the same two models: the report's, and that of a card."""
    columns = list(published.table(ladder.table).columns)
    names = [one for one in published.catalog().index if TABLES["token efficiency"] in one]
    return [one for one in names if list(published.table(one).columns) == columns]


def _frames(found: LengthDraws, name: str, ladder: Ladder) -> list[pd.DataFrame]:
    """Return the row of means of table `name` as published, in each draw; its columns are backbone and final model."""
    printed = published.table(name)
    first, last = (found.mean(ladder.models[stage]) for stage in (BACKBONE, LAST))
    return [pd.DataFrame([pair], printed.index[:1], printed.columns) for pair in zip(first, last, strict=True)]


def _shape(claim: Claim, shape: Shape, ladder: Ladder, behind: LengthDesign) -> dict:
    """Return the row of a claim on the shape of a chart."""
    cuts = {suite: behind.found.cut(ladder, suite) for suite in behind.found.suites}
    missing = set(shape.suites) - set(cuts)
    if missing:
        return entry(claim, "not testable", None, None, f"not measured here: {', '.join(sorted(missing))}")
    share = float(np.mean(shape.holds(cuts)[1:]))
    effort = behind.of({ladder.models[BACKBONE], ladder.models[LAST]}, share)
    row = order_row(claim, effort, shape.number and shape.number(cuts), note=shape.read)
    return row if behind.found.enough() else row | {"verdict": "too few to tell"}
