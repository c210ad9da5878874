"""How much of a gap the rounding of the printed numbers can explain.

Counts, model names and settings are exact; scores, ratios, file sizes and token counts were rounded before printing. It
says what rounding can explain, never that it did.
"""

from decimal import Decimal

from medpsy.published.cells import Cell
from medpsy.published.claim import Claim
from medpsy.published.evaluator import evaluate
from medpsy.published.vocabulary import FUNCTIONS

ROUNDED_UNITS = {"points", "%", "GB", "x", "tokens"}


def reach(claim: Claim) -> Decimal | None:
    """Return the largest gap between printed and recomputed value that rounding alone allows.

    Half a unit of the claim's last digit, plus what half a unit of every operand's last digit does to the result, added
    up: exact for sums, means and differences, first order for ratios. None where the claim is not one number.
    """
    if claim.number is None or not claim.formula:
        return None
    values = {operand.name: operand.value() for operand in claim.operands}
    result = evaluate(claim.formula, values, FUNCTIONS)
    if not isinstance(result, Decimal):
        return None
    slack = Decimal("0.5").scaleb(claim.number.as_tuple().exponent)
    for operand in claim.operands:
        for position, cell in enumerate(operand.cells()):
            if cell.unit in ROUNDED_UNITS and cell.number is not None:
                shifted = [evaluate(claim.formula, values | {operand.name: moved}, FUNCTIONS)
                           for moved in _moved(values[operand.name], position, cell)]  # fmt: skip
                slack += max(abs(value - result) for value in shifted)
    return slack


def _moved(value: Decimal | list, position: int, cell: Cell) -> list:
    """Return the operand's value twice: with the cell at `position` half a unit higher, and half a unit lower."""
    if not isinstance(value, list):
        return [value + cell.half_unit, value - cell.half_unit]
    return [
        [*value[:position], value[position] + step, *value[position + 1 :]]
        for step in (cell.half_unit, -cell.half_unit)
    ]
