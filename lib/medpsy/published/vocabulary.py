"""The functions that a formula of the claims table may call.

Numbers are decimals, lists are plain lists. Three functions read whole tables (`badbold`, `hb_thirds`, `pubmed_1500`);
the others see only their arguments.
"""

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

from medpsy.published.cells import cells, grid

HEALTHBENCH_TABLES = {
    "teacher_healthbench",
    "backbone_4b_healthbench",
    "backbone_sub2b_healthbench",
    "table02_healthbench_overall_three_judges",
    "table03_healthbench_dimensions",
    "table04_healthbench_hard_dimensions",
}
CLOSED_ENDED_TABLES = {
    "teacher_closed_ended",
    "backbone_4b_closed_ended",
    "backbone_sub2b_closed_ended",
    "table01_closed_ended",
    "table05_stages_1p7b",
    "table06_stages_4b",
}


def total(numbers: list) -> Decimal:
    return sum(numbers, Decimal(0))


def mean(numbers: list) -> Decimal:
    return total(numbers) / len(numbers)


def rank(number: Decimal, numbers: list) -> Decimal:
    """Return 1 for the largest; equal numbers share the better rank."""
    return Decimal(1 + sum(other > number for other in numbers))


def diff(left: list, right: list) -> list:
    return [a - b for a, b in zip(left, right, strict=True)]


def equal(left: list, right: list) -> Decimal:
    """Return how many pairs are equal."""
    return Decimal(sum(a == b for a, b in zip(left, right, strict=True)))


def rnd(number: Decimal, places: Decimal) -> Decimal:
    """Return `number` rounded to `places` decimals, ties away from zero."""
    return number.quantize(Decimal(1).scaleb(-int(places)), rounding=ROUND_HALF_UP)


def rounds_to(recomputed: Decimal, printed: Decimal) -> bool:
    """Return whether `printed` is within half a unit of its last digit of `recomputed`; a tie counts."""
    return abs(recomputed - printed) <= Decimal("0.5").scaleb(printed.as_tuple().exponent)


def pairs(*lists: list) -> list:
    """Return the items that stand at the same place, as lists; the shortest list sets the length."""
    return [list(items) for items in zip(*lists, strict=False)]


def badbold(name: str, rows: list | None = None) -> Decimal:
    """Return how many cells are bold but not the best of their column among `rows`, or the best but not bold."""
    shown = [grid(name)[row] for row in rows or grid(name)]
    wrong = 0
    for column in shown[0]:
        best = max(row[column].number for row in shown)
        wrong += sum(row[column].bold != (row[column].number == best) for row in shown)
    return Decimal(wrong)


def hb_thirds() -> list:
    """Return [HealthBench cells that end in .00, .33 or .67, all HealthBench cells]."""
    numbers = [cell.number for cell in cells() if cell.table in HEALTHBENCH_TABLES]
    return _fitting(numbers, parts_per_point=3)


def pubmed_1500() -> list:
    """Return [PubMedQA cells that are multiples of 1/1500 at two decimals, all PubMedQA cells]."""
    scores = [cell for cell in cells() if cell.table in CLOSED_ENDED_TABLES and cell.measure == "PubMedQA"]
    return _fitting([cell.number for cell in scores], parts_per_point=15)


def _fitting(numbers: list[Decimal], *, parts_per_point: int) -> list[Decimal]:
    """Return how many numbers lie within 0.005 of a multiple of 1/`parts_per_point`, and how many there are."""
    near = [rnd(number * parts_per_point, Decimal(0)) / parts_per_point for number in numbers]
    fits = sum(abs(multiple - number) <= Decimal("0.005") for multiple, number in zip(near, numbers, strict=True))
    return [Decimal(fits), Decimal(len(numbers))]


FUNCTIONS: dict[str, Callable] = {
    "mean": mean,
    "sum": total,
    "max": max,
    "min": min,
    "abs": abs,
    "len": lambda items: Decimal(len(items)),
    "sorted": sorted,
    "all": all,
    "zip": pairs,
    "rank": rank,
    "diff": diff,
    "equal": equal,
    "rnd": rnd,
    "rounds_to": rounds_to,
    "badbold": badbold,
    "hb_thirds": hb_thirds,
    "pubmed_1500": pubmed_1500,
}
