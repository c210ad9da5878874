"""The printed tables of the report and its four companion documents, cell by cell.

Every cell keeps its text as printed beside its number, unit and identity; nothing is added to what the sources print.
"""

import csv
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from medpsy.strict import nearest

DATA = Path(__file__).with_name("data")


class UnknownCell(LookupError):
    """No such table, row or column; the message names the nearest one that exists."""


@dataclass(frozen=True)
class Cell:
    table: str
    row: str  # with several keys ``"4B | Q4_K_M with imatrix"``
    column: str
    printed: str  # without markup; minus signs, thousands separators and trailing zeros stay
    number: Decimal | None  # None where the cell is not one number
    unit: str  # ``"points"`` (scores of 0 to 100 and their differences), ``"%"``, ``"GB"``, ``"tokens"`` and so on
    bold: bool  # Table 2 carries no marks in its source
    model: str  # and measure, spelled alike in all tables; empty where the cell is no measurement
    measure: str

    @property
    def half_unit(self) -> Decimal:
        """How far the unrounded number may lie from `number`."""
        return half_unit(Decimal(0) if self.number is None else self.number)


def half_unit(number: Decimal) -> Decimal:
    """Return half a unit of the last digit that `number` is written with."""
    return Decimal("0.5").scaleb(number.as_tuple().exponent)


def digests() -> dict[str, str]:
    """Return the SHA-256 digest of every data file of the audit, by its name."""
    return {f"published/{path.name}": sha256(path.read_bytes()).hexdigest() for path in sorted(DATA.glob("*.csv"))}


def read_data(name: str) -> list[dict[str, str]]:
    """Return the rows of one CSV file of the package, every value as text."""
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def cells() -> tuple[Cell, ...]:
    """Return all cells, table after table in the order of the report, row by row as printed."""
    rows = ((row.pop("numeric"), row) for row in read_data("cells.csv"))
    return tuple(Cell(**row | {"number": Decimal(n) if n else None, "bold": row["bold"] == "yes"}) for n, row in rows)


@cache
def grids() -> dict[str, dict[str, dict[str, Cell]]]:
    nested: dict[str, dict[str, dict[str, Cell]]] = {}
    for cell in cells():
        nested.setdefault(cell.table, {}).setdefault(cell.row, {})[cell.column] = cell
    return nested


def grid(name: str) -> dict[str, dict[str, Cell]]:
    """Return one table as rows of cells: row label, then column label."""
    return look_up(grids(), name, "table")


def look_up(choices: dict, key: str, kind: str) -> Any:
    """Return ``choices[key]``; raises `UnknownCell` naming the nearest key there is, or all."""
    if key not in choices:
        raise UnknownCell(f"no {kind} {key!r} among the published tables (data/cells.csv); {nearest(key, choices)}")
    return choices[key]


@cache
def sources() -> dict[str, dict[str, str]]:
    """Return where every table stands, by its name: source, section, title, row_header, origin."""
    return {row["table"]: row for row in read_data("tables.csv")}


def catalog() -> pd.DataFrame:
    """Return `sources` as a frame; origin is ``"table"``, or ``"sentences"`` of figures in running text."""
    return pd.DataFrame(sources().values()).set_index("table")


def tables(name: str | None = None) -> pd.DataFrame:
    """Return the cells of one table, or of all, in tidy form, with document, section and title."""
    chosen = cells() if name is None else [cell for row in grid(name).values() for cell in row.values()]
    tidy = pd.DataFrame([vars(cell) | {"half_unit": float(cell.half_unit)} for cell in chosen])
    tidy = tidy.join(catalog()[["source", "section", "title"]], on="table")
    return tidy.assign(number=tidy["number"].astype(float))


def table(name: str) -> pd.DataFrame:
    """Return one table as printed: row labels as index, numbers as floats, text columns as text."""
    rows = grid(name)
    wide = pd.DataFrame({name: {key: cell.printed for key, cell in row.items()} for name, row in rows.items()}).T
    for column in wide.columns:
        numbers = [row[column].number for row in rows.values()]
        if None not in numbers:
            wide[column] = [float(number) for number in numbers]
    return wide.rename_axis(sources()[name]["row_header"])


# In the order of Table 1, and of Table 3.
SUITE_TITLES = tuple(name for name in grid("table01_closed_ended")["MedPsy-4B"] if name != "Average")
THEMES = tuple(name for name in grid("table03_healthbench_dimensions")["MedPsy-4B"] if name != "Overall")
