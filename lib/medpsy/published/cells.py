"""The printed tables of the report and its four companion documents, cell by cell.

Every cell keeps its text as printed beside its number, unit and identity. Nothing here is measured, rounded or
recomputed, and nothing is added to what the sources print.
"""

import csv
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from importlib.resources import files

import pandas as pd

SUITE_TITLES = (  # in the order of Table 1
    "MMLU (Health)",
    "AfriMedQA",
    "MMLU-Pro Health",
    "MedMCQA",
    "MedQA (USMLE)",
    "MedXpertQA",
    "PubMedQA",
)
THEMES = (  # in the order of Table 3
    "Expertise-Tailored Communication",
    "Response Depth",
    "Context Seeking",
    "Emergency Referrals",
    "Global Health",
    "Health Data Tasks",
    "Responding Under Uncertainty",
)


class UnknownCell(KeyError):
    """No such table, row or column; the message names the nearest one that exists."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Cell:
    """One printed cell.

    Args:
        table, row, column: where it stands; a row with several keys reads ``"4B | Q4_K_M with imatrix"``.
        printed: the text without markup; minus signs, thousands separators and trailing zeros stay.
        number: its value, or None where the cell is not one number.
        unit: ``"points"`` (scores of 0 to 100 and their differences), ``"%"``, ``"GB"``, ``"tokens"`` and so on.
        bold: whether it was set in bold; Table 2 carries no marks in its source.
        model, measure: what was measured on what, spelled alike in all tables; empty where the cell is no measurement.
    """

    table: str
    row: str
    column: str
    printed: str
    number: Decimal | None
    unit: str
    bold: bool
    model: str
    measure: str

    @property
    def half_unit(self) -> Decimal:
        """Half a unit of the last printed digit: how far the unrounded number may lie from `number`."""
        exponent = self.number.as_tuple().exponent if self.number is not None else 0
        return Decimal("0.5").scaleb(exponent)


def digests() -> dict[str, str]:
    """Return the SHA-256 digest of every data file of the package."""
    data = files("medpsy.published") / "data"
    found = sorted((file for file in data.iterdir() if file.name.endswith(".csv")), key=lambda file: file.name)
    return {f"published/{file.name}": sha256(file.read_bytes()).hexdigest() for file in found}


def read_data(name: str) -> list[dict[str, str]]:
    """Return the rows of one CSV file of the package, every value as text."""
    with (files("medpsy.published") / "data" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def cells() -> tuple[Cell, ...]:
    """Return all cells, table after table in the order of the report, row by row as printed."""
    return tuple(
        Cell(
            row["table"],
            row["row"],
            row["column"],
            row["printed"],
            Decimal(row["numeric"]) if row["numeric"] else None,
            row["unit"],
            row["bold"] == "yes",
            row["model"],
            row["measure"],
        )
        for row in read_data("cells.csv")
    )


@cache
def grids() -> dict[str, dict[str, dict[str, Cell]]]:
    """Return every table as rows of cells: table, then row label, then column label."""
    found: dict[str, dict[str, dict[str, Cell]]] = {}
    for cell in cells():
        found.setdefault(cell.table, {}).setdefault(cell.row, {})[cell.column] = cell
    return found


def grid(name: str) -> dict[str, dict[str, Cell]]:
    """Return one table as rows of cells."""
    return known(grids(), name, "table")


def known(choices: dict, key: str, kind: str) -> object:
    """Return ``choices[key]``.

    Raises:
        UnknownCell: naming the nearest key there is.
    """
    if key not in choices:
        near = get_close_matches(key, list(choices), n=1, cutoff=0.3)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise UnknownCell(f"no {kind} {key!r} among the published tables (data/cells.csv){hint}")
    return choices[key]


@cache
def entries() -> dict[str, dict[str, str]]:
    """Return what is known of every table, by its name: source, section, title, row_header, origin."""
    return {row["table"]: row for row in read_data("tables.csv")}


def row_header(name: str) -> str:
    """Return what the first column of a table is called, for example ``"Model Name"``."""
    return known(entries(), name, "table")["row_header"]


def catalog() -> pd.DataFrame:
    """Return one row per table: source document, section, title, header of its row labels, and origin.

    Origin is ``"table"``, or ``"sentences"`` where the source gives the figures in running text.
    """
    return pd.DataFrame(entries().values()).set_index("table")


def tables(name: str | None = None) -> pd.DataFrame:
    """Return the cells of one table, or of all, in tidy form with document, section and title."""
    chosen = cells() if name is None else [cell for row in grid(name).values() for cell in row.values()]
    tidy = pd.DataFrame([vars(cell) for cell in chosen]).join(catalog()[["source", "section", "title"]], on="table")
    return tidy.assign(number=tidy["number"].astype(float))


def table(name: str) -> pd.DataFrame:
    """Return one table as printed: row labels as index, numbers as floats, text columns as text.

    For a table of scores: one row per model, one column per suite title, points of 0 to 100.
    """
    rows = grid(name)
    wide = pd.DataFrame(
        {label: {column: cell.printed for column, cell in row.items()} for label, row in rows.items()}
    ).T
    for column in wide.columns:
        numbers = [row[column].number for row in rows.values()]
        if None not in numbers:
            wide[column] = [float(number) for number in numbers]
    return wide.rename_axis(row_header(name))
