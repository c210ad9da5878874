"""Checks over whole tables: averages, deltas, and the same quantity printed in several places.

They start from the cells alone and know nothing of the claims, so they would also find what no claim mentions.
"""

from collections import defaultdict
from decimal import Decimal

import pandas as pd

from medpsy.published.cells import SUITE_TITLES, Cell, cells, entries, grid
from medpsy.published.vocabulary import mean, rounds_to

STAGE_TABLES = ("table05_stages_1p7b", "table06_stages_4b")
EXACT, CLOSE, DIFFERENT = "agree", "within rounding", "disagree"


def tally(checks: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per check: how many were made, and how many came out in each state."""
    states = (EXACT, CLOSE, DIFFERENT)
    rows = {
        name: {"checked": len(found)} | {state: int((found["state"] == state).sum()) for state in states}
        for name, found in checks.items()
    }
    return pd.DataFrame(rows).T.rename_axis("check")


def averages() -> pd.DataFrame:
    """Return every printed Average beside the mean of its seven suites: table, model, printed, recomputed, gap, state.

    State is ``"agree"``, ``"within rounding"`` (unrounded scores may give the printed value) or ``"disagree"``.
    """
    groups: dict[tuple[str, str], dict[str, Cell]] = defaultdict(dict)
    for cell in cells():
        groups[cell.table, cell.model][cell.measure] = cell
    rows = []
    for (table, model), found in groups.items():
        if model and {"Average", *SUITE_TITLES} <= set(found):
            rows.append(_average(table, model, found))
    return pd.DataFrame(rows)


def deltas() -> pd.DataFrame:
    """Return every Δ cell of Tables 5 and 6 beside the difference of its two score rows."""
    rows = []
    for table in STAGE_TABLES:
        scores: list[str] = []
        for label in grid(table):
            if "Δ" not in label:
                scores.append(label)
                continue
            start = scores[0] if label.startswith("Total") else scores[-2]
            for column, cell in grid(table)[label].items():
                recomputed = grid(table)[scores[-1]][column].number - grid(table)[start][column].number
                rows.append(_compared(table, f"{label}, {column}", cell.number, recomputed, slack=Decimal("0.01")))
    return pd.DataFrame(rows)


def same_quantity() -> pd.DataFrame:
    """Return every quantity that is printed in more than one place: model, measure, places, printed, spread, state.

    Two prints agree when the one with fewer decimals is the other one rounded.
    """
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells():
        if cell.model and cell.number is not None:
            groups[cell.model, cell.measure].append(cell)
    rows = [_printed_twice(model, measure, found) for (model, measure), found in groups.items() if len(found) > 1]
    return pd.DataFrame(rows)


def _average(table: str, model: str, found: dict[str, Cell]) -> dict:
    suites = [found[title] for title in SUITE_TITLES]
    slack = mean([cell.half_unit for cell in suites])
    return _compared(table, model, found["Average"].number, mean([cell.number for cell in suites]), slack=slack)


def _compared(table: str, what: str, printed: Decimal, recomputed: Decimal, *, slack: Decimal) -> dict:
    """Return one row; `slack` is what the rounding of the numbers behind `recomputed` allows."""
    state = EXACT if rounds_to(recomputed, printed) else DIFFERENT
    half_unit = Decimal("0.5").scaleb(printed.as_tuple().exponent)
    if state == DIFFERENT and abs(recomputed - printed) <= half_unit + slack:
        state = CLOSE
    return {
        "table": entries()[table]["title"],
        "what": what,
        "printed": float(printed),
        "recomputed": float(recomputed),
        "gap": float(recomputed - printed),
        "state": state,
    }


def _printed_twice(model: str, measure: str, found: list[Cell]) -> dict:
    numbers = [cell.number for cell in found]
    coarsest = max(cell.half_unit for cell in found)
    spread = max(numbers) - min(numbers)
    return {
        "model": model,
        "measure": measure,
        "places": "; ".join(entries()[cell.table]["title"] for cell in found),
        "printed": "; ".join(cell.printed for cell in found),
        "spread": float(spread),
        "state": EXACT if spread <= coarsest else DIFFERENT,
    }
