"""The claims that the documents make, and each one recomputed from the printed tables.

A claim agrees, disagrees, or is not derivable from printed numbers; there is no fourth state and no tolerance beyond
the rule that the claim itself carries. Nothing here judges how much a disagreement matters.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from medpsy.published.cells import read_data
from medpsy.published.evaluator import Value, evaluate
from medpsy.published.operand import Operand, operand
from medpsy.published.vocabulary import FUNCTIONS, rnd

AGREE, DISAGREE, NOT_DERIVABLE = "agree", "disagree", "not derivable"
KINDS = {"P": "text", "R": "inside a table", "X": "between places", "A": "OpenMed card", "G": "GSPO card"}
PLAIN_VALUE = re.compile(r"~?([-+]?\d[\d,]*(?:\.\d+)?)[x%]?")


@dataclass(frozen=True)
class Claim:
    """One statement with a number, or with an order that numbers decide.

    Args:
        id: P (text), R (inside a table) or X (between places) with a running number.
        source: document, for example ``"report"`` or ``"medpsy4b_card"``.
        section: where it stands, for example ``"4.2"``, ``"Table 6 caption"`` or ``"Table 2 vs Table 4"``.
        text: what is claimed, in our words.
        value, unit: as printed; ``1`` or ``<=3`` may be a rank, ``>0`` a sign, ``7`` a count.
        operands, formula: how to recompute it; both empty where the documents print nothing to recompute it from.
        rule: expression over the result r, the printed value v and the operands; empty where it is not derivable.
        group, grade: of a disagreement, as judged by us; None otherwise.
        note: what to know about it.
    """

    id: str
    source: str
    section: str
    text: str
    value: str
    unit: str
    operands: tuple[Operand, ...]
    formula: str
    rule: str
    group: int | None
    grade: str | None
    note: str

    @property
    def number(self) -> Decimal | None:
        """The printed value as a number, with its decimals, or None where it is words, a rank limit or a sign."""
        plain = PLAIN_VALUE.fullmatch(self.value)
        return Decimal(plain[1].replace(",", "")) if plain else None

    @property
    def kind(self) -> str:
        return KINDS[self.id[0]]

    def belongs_to(self, section: str) -> bool:
        """Return whether the claim stands in `section`, or compares it with another place."""
        return any(part == section or part.startswith(f"{section} ") for part in self.section.split(" vs "))


@dataclass(frozen=True)
class Recomputed:
    """A claim beside its recomputation: `result` is None where nothing can be computed."""

    claim: Claim
    state: str
    result: Value | None

    @property
    def text(self) -> str:
        """The result to four decimals at most, and at least to those of the printed value."""
        places = 0 if self.claim.number is None else max(0, -self.claim.number.as_tuple().exponent)
        return "" if self.result is None else _written(self.result, places)

    @property
    def gap(self) -> Decimal | None:
        """Recomputed minus printed, where both are one number."""
        single = isinstance(self.result, Decimal) and self.claim.number is not None
        return self.result - self.claim.number if single else None


def recompute(claim: Claim) -> Recomputed:
    """Return `claim` with its formula evaluated on the printed cells and its rule applied.

    Raises:
        ExpressionError, UnknownCell: the data file of the claims is wrong.
    """
    if not claim.formula:
        return Recomputed(claim, NOT_DERIVABLE, None)
    names = {operand.name: operand.value() for operand in claim.operands}
    result = evaluate(claim.formula, names, FUNCTIONS)
    if not claim.rule:
        return Recomputed(claim, NOT_DERIVABLE, result)
    printed = {} if claim.number is None else {"v": claim.number}
    holds = evaluate(claim.rule, names | printed | {"r": result}, FUNCTIONS)
    return Recomputed(claim, AGREE if holds else DISAGREE, result)


def claims(section: str | None = None, *, source: str | None = None) -> tuple[Claim, ...]:
    """Return the claims of a section (``"3.1"``, ``"Table 6"``) or document, or all, in the order of the text."""
    chosen = (claim for claim in _all_claims() if section is None or claim.belongs_to(section))
    return tuple(claim for claim in chosen if source is None or claim.source == source)


@cache
def _all_claims() -> tuple[Claim, ...]:
    rows = read_data("claims.csv")
    graded = [{"group": int(row["group"] or 0) or None, "grade": row["grade"] or None} for row in rows]
    return tuple(Claim(**claim_fields(row) | judged) for row, judged in zip(rows, graded, strict=True))


def claim_fields(row: dict[str, str]) -> dict[str, object]:
    """Return the fields of a claim in one row of a file of claims; it belongs to no group of disagreements."""
    plain = {name: row[name] for name in ("id", "source", "section", "value", "unit", "formula", "note")}
    operands = tuple(operand(text) for text in row["operands"].split("; ") if text)
    return plain | {"text": row["claim"], "operands": operands, "rule": row["agree"], "group": None, "grade": None}


def _written(result: Value, places: int) -> str:
    if isinstance(result, bool):
        return "yes" if result else "no"
    if isinstance(result, list):
        return " / ".join(_written(item, places) for item in result)
    if not isinstance(result, Decimal):
        return result
    short = format(rnd(result, Decimal(4)).normalize(), "f")
    decimals = len(short.partition(".")[2])
    return short if decimals >= places else format(rnd(result, Decimal(places)), "f")
