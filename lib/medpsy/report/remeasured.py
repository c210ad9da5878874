"""Published claims evaluated once more, with measured scores in the place of the printed ones.

A claim's own formula is computed on our table and on bootstrap tables, in which the same questions are drawn for every
model, so that differences between models are paired. Refuses to test a claim whose rows were not all measured.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Protocol

import numpy as np
import pandas as pd

from medpsy.benchmarks import SUITES
from medpsy.published import Claim
from medpsy.published import table as published_table
from medpsy.published.evaluator import Value, evaluate
from medpsy.published.expression import ExpressionError
from medpsy.published.vocabulary import FUNCTIONS
from medpsy.report import compare
from medpsy.report.effort import Draw, Effort, Number, design, drawn_rows
from medpsy.report.orders import LEAST, entry, order_row
from medpsy.report.scales import scale
from medpsy.report.scores import TITLES, question_shares
from medpsy.scoring import AVERAGE
from medpsy.statistics import interval
from medpsy.study import Study

REPLICATES = 1000
ORDERS = ("rank", "judges", "dimensions", "columns", "")  # units of claims that hold or do not, as their rule says
SIGN = re.compile(r"([<>])=?0")  # a printed value that claims a sign and no number

Tables = list[pd.DataFrame]  # index: rows as published; columns: titles of suites and "Average"; the first is measured


class Behind(Protocol):
    """What stood behind the measured scores, e.g. `medpsy.report.effort.Design`."""

    def effort(
        self, claim: Claim, number: Number | None = None, *, margin: float | None = None, share: float | None = None
    ) -> Effort: ...


def remeasured(
    study: Study, graded: pd.DataFrame, claims: Iterable[Claim], *, table: str, stands_for: Mapping[str, str]
) -> list[dict]:
    """Return one row per claim that rests on published table `table` alone, for a result's `claims`.

    Args:
        graded: as `medpsy.evaluate.closed_ended` returns it.
        stands_for: model of the study -> row of the published table that it is, or stands in for.

    The margin of a number holds question sampling and run noise on our side; where the published questions were
    asked, it is wider than need be and never too narrow.
    """
    tables = score_tables(graded, stands_for)
    behind = design(study, graded, tables[0], table, stands_for)
    return from_draws(study.profile, drawn_rows({table: tables}), behind, claims)


def from_draws(profile: str, drawn: Sequence[Draw], behind: Behind, claims: Iterable[Claim]) -> list[dict]:
    """Return one row per claim that rests on the published tables of `drawn` alone, the first draw being measured."""
    return [_row(claim, drawn, behind, profile) for claim in claims if rests_on(claim, drawn[0])]


def rests_on(claim: Claim, tables: Iterable[str]) -> bool:
    """Return whether every operand of `claim` is a score of one of `tables`."""
    return bool(claim.operands) and all(one.table in tables and one.cells() for one in claim.operands)


def score_tables(graded: pd.DataFrame, stands_for: Mapping[str, str], *, seed: int = 0) -> Tables:
    """Return the measured table followed by `REPLICATES` bootstrap tables of it."""
    shares = question_shares(graded[graded["model"].isin(stands_for)])
    generator = np.random.default_rng(seed)
    names = [stands_for[model] for model in shares.index.get_level_values("model").unique()]
    columns = {}
    for suite in [key for key in SUITES if key in shares.index.get_level_values("suite")]:
        wide = shares.xs(suite, level="suite").unstack("model")[list(shares.index.get_level_values("model").unique())]
        columns[TITLES[suite]] = _suite_scores(wide.dropna(), generator)
    scores = np.stack(list(columns.values()), axis=-1)  # [1 + replicates, models, suites]
    if len(columns) == len(SUITES):
        columns[TITLES[AVERAGE]] = None
        scores = np.concatenate([scores, scores.mean(axis=-1, keepdims=True)], axis=-1)
    return [pd.DataFrame(one, index=names, columns=list(columns)) for one in scores]


def _suite_scores(wide: pd.DataFrame, generator: np.random.Generator) -> np.ndarray:
    """Return scores [1 + replicates, models] in points; `wide` holds shares of correct runs, question by model."""
    groups = []
    for _, rows in wide.groupby(level="weight_group"):
        values, count = rows.to_numpy(), len(rows)
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=REPLICATES)
        groups.append(np.vstack([np.ones(count), drawn]) @ values / count)
    return 100 * np.mean(groups, axis=0)


def _row(claim: Claim, drawn: Sequence[Draw], behind: Behind, profile: str) -> dict:
    if missing := _missing(claim, drawn[0]):
        return entry(claim, "not testable", None, None, f"not measured here: {', '.join(sorted(missing))}")
    if not claim.rule:
        return entry(claim, "not testable", None, None, "the documents state no rule for this claim")
    try:
        results = [_result(claim, one) for one in drawn]
    except ExpressionError:  # e.g. a share of a gap that is zero in some sample
        return entry(claim, "too few to tell", None, None, "has no value in some of the bootstrap samples")
    difference = _compares(claim)
    if _is_order(claim, results[0]):
        return _order(claim, drawn, results, behind)
    printed = claim.number
    if difference and isinstance(results[0], list) and compare.mode(profile) == "patterns":
        # a range of leads: where other models stand in, the sign of its lower end
        printed = min(_result(claim, drawn_rows(_published(claim))[0]))
        results = [min(result) for result in results]
    if not isinstance(results[0], Decimal):
        return entry(claim, "not testable", None, None, "a range of values of other models than the published ones")
    numbers = np.array([float(result) for result in results])
    published = None if printed is None else float(printed)
    margin = interval(numbers[1:]).margin
    effort = asdict(behind.effort(claim, lambda one: _number(_result(claim, one)), margin=margin))
    if effort["questions"] < LEAST:
        margin = None
    if sign := SIGN.fullmatch(claim.value):
        verdict = compare.pattern_verdict(numbers[0] if sign[1] == ">" else -numbers[0], margin)
        return entry(claim, verdict, numbers[0], margin, "") | {"effort": effort}
    measured = compare.Measured(published, numbers[0], margin, difference=difference, effort=effort, **scale(claim))
    note = "" if difference or compare.mode(profile) == "values" else "a number of another model than the published one"
    return compare.claim(claim.id, claim.text, measured, profile=profile, note=note)


def _missing(claim: Claim, scores: Draw) -> set[str]:
    """Return the rows and columns of `claim` that `scores` do not have."""
    cells = [cell for operand in claim.operands for cell in operand.cells()]
    rows = {cell.row for cell in cells if cell.row not in scores[cell.table]}
    known = {table: set().union(*values.values()) for table, values in scores.items()}
    return rows | {cell.column for cell in cells if cell.column not in known[cell.table]}


def _compares(claim: Claim) -> bool:
    """Return whether `claim` sets several numbers against each other; those of one model make a score, e.g. a mean."""
    models = {cell.model for operand in claim.operands for cell in operand.cells()}
    return len(claim.operands) > 1 and (len(models) > 1 or models == {""})


def _is_order(claim: Claim, result: Value) -> bool:
    """Return whether `claim` says how numbers are ordered: by its unit, or in words."""
    several = len(claim.operands) > 1
    in_words = several and not any(letter.isdigit() for letter in claim.value)
    return in_words or isinstance(result, bool) or (claim.unit in ORDERS and (several or isinstance(result, list)))


def _order(claim: Claim, drawn: Sequence[Draw], results: list[Value], behind: Behind) -> dict:
    """Return the row of a rank, or of a count of judges: it is settled where nearly all replicates agree."""
    printed = {} if claim.number is None else {"v": claim.number}
    holds = [
        bool(evaluate(claim.rule, _names(claim, one) | printed | {"r": result}, FUNCTIONS))
        for one, result in zip(drawn, results, strict=True)
    ]
    ours = float(results[0]) if isinstance(results[0], Decimal) else None
    return order_row(claim, behind.effort(claim, share=float(np.mean(holds[1:]))), ours)


def _number(result: Value) -> float:
    return float(min(result) if isinstance(result, list) else result)


def _result(claim: Claim, scores: Draw) -> Value:
    """Return what the claim's formula gives on `scores`."""
    return evaluate(claim.formula, _names(claim, scores), FUNCTIONS)


def _names(claim: Claim, scores: Draw) -> dict[str, Decimal | list[Decimal]]:
    """Return what the claim's formula sees, taken from `scores`."""
    found = {}
    for operand in claim.operands:
        values = [_decimal(scores[cell.table][cell.row][cell.column]) for cell in operand.cells()]
        found[operand.name] = values if operand.is_list else values[0]
    return found


def _published(claim: Claim) -> dict[str, Tables]:
    return {one.table: [published_table(one.table)] for one in claim.operands}


def _decimal(value: float) -> Decimal:
    if not math.isfinite(value):
        raise ValueError(f"a measured score is {value}; every suite of the claim must have been scored")
    return Decimal(repr(float(value)))
