"""Operands: how a claim names the printed cells it is recomputed from.

A reference is ``name=table:row:column``. Row and column are labels, a list of labels ``[a | b]``, or a shorthand:
``<7>`` for the seven closed-ended suites, ``<dims>`` for the seven HealthBench themes, ``<rows>`` for all rows.
Nothing is guessed: a label that is not in the table is an error.
"""

from dataclasses import dataclass

from medpsy.published.cells import SUITE_TITLES, THEMES, Cell, grid, known, row_header
from medpsy.published.evaluator import Value

SHORTHANDS = {"<7>": list(SUITE_TITLES), "<dims>": list(THEMES)}


@dataclass(frozen=True)
class Operand:
    """A named reference to one cell or a list of cells; `row` and `column` as written."""

    name: str
    table: str
    row: str
    column: str

    @property
    def is_list(self) -> bool:
        return self.row == "<rows>" or _labels(self.row) is not None or _labels(self.column) is not None

    def rows(self) -> list[str]:
        """Return the row labels that are meant.

        Raises:
            UnknownCell: there is no such table or row.
        """
        labels = list(grid(self.table)) if self.row == "<rows>" else _labels(self.row) or [self.row]
        for label in labels:
            known(grid(self.table), label, f"row in {self.table}")
        return labels

    def cells(self) -> list[Cell]:
        """Return the cells that are meant, in the order written; none where the column is the header of the rows.

        Raises:
            UnknownCell: there is no such table, row or column.
        """
        if self.column == row_header(self.table):
            return []
        rows = [grid(self.table)[row] for row in self.rows()]
        columns = _labels(self.column) or [self.column]
        return [known(row, column, f"column in {self.table}") for row in rows for column in columns]

    def value(self) -> Value:
        """Return what a formula sees: decimals, the printed text of cells that are not numbers, or row labels."""
        values = [cell.printed if cell.number is None else cell.number for cell in self.cells()] or self.rows()
        return values if self.is_list else values[0]


def operand(text: str) -> Operand:
    """Return the operand written as ``name=table:row:column``."""
    name, reference = text.split("=", 1)
    return Operand(name, *reference.split(":", 2))


def _labels(text: str) -> list[str] | None:
    """Return the labels behind ``<7>``, ``<dims>`` or ``[a | b]``, or None for a single label."""
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1].split(" | ")
    return SHORTHANDS.get(text)
