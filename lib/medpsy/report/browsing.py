"""One page of evidence inside a notebook: a few responses that fit, with everything the site shows of each.

Every text is escaped, and rows that may not be published are withheld as on the site.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from medpsy import strict
from medpsy.benchmarks.question import LETTERS
from medpsy.grading import outcomes, verdicts
from medpsy.report import conversing, reading, withholding
from medpsy.report.templating import rendered

FILTERS = ("model", "suite", "theme")  # compared as they stand


@dataclass(frozen=True)
class Browsed:
    """Some of the responses that fit; Jupyter shows them as HTML. `total` counts all that fit."""

    rows: list[dict]
    total: int

    def __repr__(self) -> str:
        return f"{len(self.rows)} of {self.total:,} responses that fit"

    def _repr_html_(self) -> str:
        private = any(row.get("guarded") for row in self.rows) and not withholding.withheld()
        shown = [withholding.published(row) for row in self.rows]
        names = {"letters": LETTERS, "note": withholding.NOTE, "private": withholding.MARK if private else ""}
        return rendered("browse.html", rows=shown, total=self.total, **names)


def browse(
    rows: pd.DataFrame,
    *,
    model: str | None = None,
    suite: str | None = None,
    theme: str | None = None,
    outcome: str | None = None,
    disagreement: bool | None = None,
    limit: int = 3,
) -> Browsed:
    """Return up to `limit` responses of `rows` that fit all that is given.

    Args:
        rows: as `readable` or `readable_conversations` returns them.
        outcome: of any reader (``"wrong"`` ...), or of any criterion by any judge (``"met"`` ...).
        disagreement: only responses on which readers or judges differ (True), or only the others (False).

    Raises:
        ValueError: nothing in `rows` is called so; the message offers the nearest name.
    """
    rows = reading.one_row_per_response(rows) if "reader" in rows else rows
    for name, wanted in zip(FILTERS, (model, suite, theme), strict=True):
        rows = _only(rows, name, wanted)
    open_ended = "criteria" in rows
    column = rows["criteria" if open_ended else "readings"]
    if outcome is not None:
        _check("outcome", outcome, verdicts.OUTCOMES if open_ended else (*outcomes.OUTCOMES, outcomes.NO_GOLD))
        rows = rows[_mask(column, lambda held: outcome in _outcomes(held, open_ended))]
    if disagreement is not None:
        column = column.loc[rows.index]
        rows = rows[_mask(column, lambda held: _differ(held, open_ended) == disagreement)]
    kind = conversing.CONVERSATIONS if open_ended else reading.RESPONSES
    return Browsed(kind.records(rows.head(limit)), len(rows))


def _only(rows: pd.DataFrame, name: str, wanted: str | None) -> pd.DataFrame:
    if wanted is None:
        return rows
    if name not in rows:
        raise ValueError(f"{name}={wanted!r}: responses to questions have no {name}")
    _check(name, wanted, rows[name].unique())
    return rows[rows[name] == wanted]


def _check(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"{name}={value!r} is not among these responses; {strict.nearest(value, known)}")


def _mask(column: pd.Series, fits: Callable[[list], bool]) -> list[bool]:
    return [fits(held) for held in column]


def _outcomes(held: list[dict], open_ended: bool) -> set[str]:
    said = (one for criterion in held for one in criterion["verdicts"]) if open_ended else held
    return {one["outcome"] for one in said}


def _differ(held: list[dict], open_ended: bool) -> bool:
    return any(map(conversing.judges_differ, held)) if open_ended else reading.readers_differ(held)
