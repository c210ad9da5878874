"""Rows whose authors ask that they not be published (HealthBench) stay out of pages.

What is withheld: messages and criteria, and what quotes them: a judge's explanation and a model's reasoning. Ids,
points, axes, verdicts, scores and answers stay. Files keep such rows compressed in any case.
"""

import os
from collections.abc import Mapping

VARIABLE = "MEDPSY_SHOW_ROWS"
NOTE = (
    "Not shown: the authors of this benchmark ask that its rows not be published. "
    f"With {VARIABLE}=1 they are shown; keep what is built then at home."
)
MARK = "medpsy-private"  # class of what a notebook shows and no published page may


def withheld() -> bool:
    """Return whether guarded rows are withheld; `VARIABLE` set to 1 says that what is built stays at home."""
    return os.environ.get(VARIABLE) != "1"


def published(row: dict) -> dict:
    """Return `row` of the evidence as a page may show it."""
    if not row.get("guarded") or not withheld():
        return row
    criteria = [one | {"criterion": None, "verdicts": _unexplained(one["verdicts"])} for one in row["criteria"]]
    return row | {"messages": None, "reasoning": None, "criteria": criteria}


def _unexplained(verdicts: list[Mapping]) -> list[dict]:
    return [{**verdict, "explanation": None} for verdict in verdicts]
