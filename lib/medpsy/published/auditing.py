"""The audit: every claim recomputed, the disagreements grouped and graded, in one table each.

What counts as a disagreement is arithmetic. How it is grouped and graded is our reading, kept as data (`groups.csv`,
and the columns group and grade of `claims.csv`); a disagreement without a grade, or a grade without one, is an error.
"""

import re
from collections import Counter
from dataclasses import dataclass

import pandas as pd

from medpsy.published.cells import entries, read_data
from medpsy.published.claim import AGREE, DISAGREE, NOT_DERIVABLE, Claim, Recomputed, claims, recompute
from medpsy.published.operand import Operand
from medpsy.published.rounding import reach

GRADES = {  # what the words mean, gravest first
    "a conclusion changes": "an order, sign, count or limit that is stated in words or shown by a table is reversed",
    "two places conflict": "the same quantity is printed with two values, or against a stated rule; no order turns",
    "acknowledged separate runs": "the report itself says that the two values come from separate runs",
    "within rounding": "the numbers before rounding may have agreed",
}
VERDICTS = {AGREE: "agrees", DISAGREE: "differs", NOT_DERIVABLE: "not testable"}
SHORT = {"<7>": "seven suites", "<dims>": "seven themes", "<rows>": "all rows"}
DOCUMENTS = {
    "report": "report",
    "medpsy4b_card": "MedPsy-4B card",
    "news": "news piece",
    "gspo_card": "GSPO card",
    "openmed_card": "OpenMed card",
    "openmed_rl_cot_card": "OpenMed RL-CoT card",
}


class AuditError(ValueError):
    """The claims and their groups do not fit together."""


@dataclass(frozen=True)
class Audit:
    """The audit's two tables.

    Args:
        claims: one row per claim: id, document, place, against, claim, value, unit, recomputed, gap, reach, state,
            kind, group, grade, note. `gap` is recomputed minus printed; `reach`, of a disagreement, is what rounding
            can explain.
        groups: one row per group of disagreements: group, title, grade, first_place, second_place, consequence and
            the ids of its claims.
    """

    claims: pd.DataFrame
    groups: pd.DataFrame

    @property
    def counts(self) -> dict[str, int]:
        """Number of claims in each of the three states."""
        found = Counter(self.claims["state"])
        return {state: found[state] for state in (AGREE, DISAGREE, NOT_DERIVABLE)}

    def by_kind(self) -> pd.DataFrame:
        """Return how many claims of each kind are in each state."""
        return _counted(self.claims, "kind")

    def by_document(self) -> pd.DataFrame:
        """Return how many claims of each document are in each state."""
        return _counted(self.claims, "document")

    def records(self) -> list[dict]:
        """Return every claim as a record keeps it, with the verdict of the arithmetic.

        `published` and `ours` are the printed and the recomputed value as text; nothing was sampled: no margin.
        """
        kept = self.claims.astype(object).where(self.claims.notna(), None)
        return [
            {
                "id": row["id"],
                "claim": row["claim"],
                "verdict": VERDICTS[row["state"]],
                "published": row["value"],
                "ours": row["recomputed"] or None,
                "margin": None,
                "note": row["note"],
            }
            | {key: row[key] for key in ("document", "place", "against", "unit", "state", "group", "grade")}
            for row in kept.to_dict("records")
        ]

    def disagreements(self, group: int | None = None) -> pd.DataFrame:
        """Return the claims that disagree, of one group or of all, group by group."""
        rows = self.claims[self.claims["state"] == DISAGREE].sort_values(["group", "id"], kind="stable")
        return rows if group is None else rows[rows["group"] == group]


def audit() -> Audit:
    """Recompute every claim and return the audit.

    Raises:
        AuditError: a disagreement belongs to no group, or a claim of a group does not disagree.
    """
    rows = [_row(recompute(claim)) for claim in claims()]
    _check(rows)
    frame = pd.DataFrame(rows)
    return Audit(frame.assign(group=frame["group"].astype("Int64")), _groups(frame))


def _row(found: Recomputed) -> dict:
    claim, disagrees = found.claim, found.state == DISAGREE
    allowed = reach(claim) if disagrees else None
    return {
        "id": claim.id,
        "document": DOCUMENTS[claim.source],
        "place": claim.section.split(" vs ")[0],
        "against": "; ".join(dict.fromkeys(_places(claim))),
        "claim": claim.text,
        "value": claim.value,
        "unit": claim.unit,
        "recomputed": found.text,
        "gap": None if found.gap is None else float(found.gap),
        "reach": None if allowed is None else float(allowed),
        "state": found.state,
        "kind": claim.kind,
        "group": claim.group,
        "grade": claim.grade,
        "note": claim.note,
    }


def _places(claim: Claim) -> list[str]:
    """Return where the numbers stand that the claim is recomputed from, in words."""
    named = [f"{_title(name)}: bold marks" for name in re.findall(r"'(\w+)'", claim.formula) if name in entries()]
    by_table: dict[str, list[Operand]] = {}
    for operand in claim.operands:
        by_table.setdefault(operand.table, []).append(operand)
    return named + [f"{_title(name)}: {_labels(found)}" for name, found in by_table.items()]


def _labels(operands: list[Operand]) -> str:
    rows = dict.fromkeys(_short(operand.row) for operand in operands)
    columns = dict.fromkeys(_short(operand.column) for operand in operands)
    return f"{', '.join(rows)} / {', '.join(columns)}"


def _short(label: str) -> str:
    return SHORT.get(label, label.strip("[]").replace(" | ", ", ") if label.startswith("[") else label)


def _title(name: str) -> str:
    """Return a table's number, or its section and title where it has no number."""
    entry = entries()[name]
    numbered = entry["title"].startswith("Table") or entry["source"] != "report"
    return entry["title"] if numbered else f"{entry['section']}, {entry['title']}"


def _check(rows: list[dict]) -> None:
    for row in rows:
        wrong = row["grade"] not in GRADES if row["state"] == DISAGREE else row["group"] or row["grade"]
        if wrong or (row["group"] is None) != (row["grade"] is None):
            raise AuditError(
                f"claim {row['id']} is {row['state']!r} with group {row['group']} and grade {row['grade']!r}; "
                "give group and grade to disagreements only (data/claims.csv)"
            )


def _groups(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the groups, each graded by the commonest grade of its claims."""
    rows = []
    for entry in read_data("groups.csv"):
        members = frame[frame["group"] == int(entry["group"])]
        if members.empty:
            raise AuditError(f"group {entry['group']} has no claim (data/groups.csv)")
        grade = Counter(members["grade"]).most_common(1)[0][0]
        rows.append(entry | {"group": int(entry["group"]), "grade": grade, "claims": ", ".join(members["id"])})
    order = ["group", "title", "grade", "first_place", "second_place", "consequence", "claims"]
    return pd.DataFrame(rows)[order]


def _counted(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    table = pd.crosstab(frame[by], frame["state"]).reindex(columns=[AGREE, DISAGREE, NOT_DERIVABLE], fill_value=0)
    ordered = table.reindex(dict.fromkeys(frame[by]))
    return ordered.assign(claims=ordered.sum(axis=1)).rename_axis(columns=None)
