"""Which notebook answers for which published claim, and which claims no run can test.

Decided from what a claim rests on: its tables and their place in the report (`ledger_sections.csv`, the one place where
sections meet notebooks), its unit, its kind. The claims of the cards say it themselves. No claim is named here.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medpsy import study
from medpsy.published import CardClaim, Claim

AUDIT = "00_published_claims"  # answers for what only the printed pages can settle
MAP = Path(__file__).with_name("ledger_sections.csv")
VALUES = ("review", "paper")  # profiles that run the published models, the smaller one first
QUANTITIES = frozenset({"", "points", "%", "x", "ratio", "rank", "tokens", "GB", "dimensions", "judges", "columns"})
SCORES = ("points", "dimensions")  # units of a score, and of how many themes a model leads on
PRINTED = "between places"  # kind of a claim that sets one printed place against another


@dataclass(frozen=True)
class Responsible:
    """The notebook that answers for a claim, the smallest profile that tests its value, or why no run can.

    Args:
        profile: ``"review"`` or ``"paper"``; empty where no run can test the claim.
        fact: why no run can test it; empty where one can.
    """

    notebook: str
    profile: str = ""
    fact: str = ""


def responsible(claim: Claim) -> Responsible:
    """Return who answers for `claim`.

    A claim that rests on tables of several notebooks belongs to the last of them in reading order: it needs them all.

    Raises:
        ValueError: a run could test the claim, but `ledger_sections.csv` knows neither its tables nor its place.
    """
    if isinstance(claim, CardClaim):
        return Responsible(claim.notebook or AUDIT, claim.profile, claim.fact)
    if fact := _fact(claim):
        return Responsible(AUDIT, fact=fact)
    known = [entries()[name] for name in _tables(claim)] or [entries().get(claim.section)]
    if None in known:
        raise ValueError(f"claim {claim.id}: {MAP.name} names no notebook for {claim.section!r}; add a line")
    floor = max((one["profile"] for one in known), key=VALUES.index)
    return Responsible(max(one["notebook"] for one in known), _profile(claim, floor))


@cache
def entries() -> dict[str, dict[str, str]]:
    """Return the lines of `ledger_sections.csv` by table or place: notebook, and the smallest profile of its values."""
    with MAP.open(encoding="utf-8", newline="") as file:
        return {row["where"]: row for row in csv.DictReader(file)}


def _fact(claim: Claim) -> str:
    """Return why no run can test `claim`, or nothing."""
    if claim.kind == PRINTED or claim.unit == "cells":
        return "compares printed places with each other; only the audit can decide it"
    if claim.unit not in QUANTITIES:
        return f"states a number of {claim.unit}, which a rerun adopts and does not measure"
    if claim.operands and not any(operand.cells() for operand in claim.operands):
        return "counts rows or columns of a printed table; only the audit can decide it"
    if claim.operands and not _tables(claim):
        return "follows from facts about the models or the authors' machines, which no run measures"
    if not claim.operands and claim.unit not in SCORES and any(letter.isdigit() for letter in claim.value):
        return "states a setting of the authors' own runs; a rerun adopts it and cannot test it"
    return ""


def _tables(claim: Claim) -> list[str]:
    """Return the tables of measurements that `claim` rests on."""
    return [name for name in dict.fromkeys(operand.table for operand in claim.operands) if name in entries()]


def _profile(claim: Claim, floor: str) -> str:
    """Return the smallest profile from `floor` on whose study has every model of the claim; the largest otherwise.

    A profile that the project does not have is taken to have them.
    """
    wanted = {cell.model for operand in claim.operands for cell in operand.cells() if cell.model}
    candidates = VALUES[VALUES.index(floor) :]
    able = (name for name in candidates if name not in study.profiles() or wanted <= _labels(name, study.ROOT))
    return next(able, candidates[-1])


@cache
def _labels(profile: str, root: Path) -> frozenset[str]:
    """Return what the models of `profile` are called in the project under `root`."""
    return frozenset(model.label for model in study.load(profile).models.values())
