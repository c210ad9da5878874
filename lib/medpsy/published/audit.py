"""All printed claims recomputed from printed cells, and the disagreements in groups of one cause each.

What counts as a disagreement is arithmetic. How it is grouped and graded is our reading, kept as data (`groups.csv`,
and the columns group and grade of `claims.csv`).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill

import pandas as pd

from medpsy import strict
from medpsy.published.claims import AGREE, DISAGREE, NOT_DERIVABLE, Claim, claims, recompute
from medpsy.published.tables import read_data, sources

NAMED = strict.read(Path(__file__).with_name("audit.yaml"))
GRADES, DOCUMENTS = NAMED["grades"], NAMED["documents"]
STATES = [AGREE, DISAGREE, NOT_DERIVABLE]
SHORTHANDS = {"<7>": "seven suites", "<dims>": "seven themes", "<rows>": "all rows"}
WIDTH = 110  # columns of printed text


def audit() -> pd.DataFrame:
    """Recompute every claim and return a row each; ``reach`` of a disagreement is the gap that rounding can explain."""
    rows = []
    for claim in claims():
        recomputed = recompute(claim)
        row = {"id": claim.id, "document": DOCUMENTS[claim.source], "place": claim.section.split(" vs ")[0]}
        row |= {"against": "; ".join(_places(claim)), "claim": claim.text, "value": claim.value, "unit": claim.unit}
        row |= {"recomputed": recomputed.text, "gap": recomputed.gap}
        row |= {"reach": recomputed.reach if recomputed.state == DISAGREE else None}
        row |= {"state": recomputed.state, "kind": claim.kind}
        rows.append(row | {"group": claim.group, "grade": claim.grade, "note": claim.note})
    return pd.DataFrame(rows).astype({"group": "Int64", "gap": float, "reach": float})


def groups(audited: pd.DataFrame) -> pd.DataFrame:
    """Return one row per group of disagreements among the rows of `audit`, with the commonest grade and the ids of its
    claims."""
    frame = pd.DataFrame(read_data("groups.csv")).astype({"group": int})
    members = audited.dropna(subset="group").groupby("group")
    frame["grade"] = frame["group"].map(members["grade"].agg(lambda grades: grades.value_counts().index[0]))
    frame["claims"] = frame["group"].map(members["id"].agg(", ".join))
    return frame[["group", "title", "grade", "first_place", "second_place", "consequence", "claims"]]


def _places(claim: Claim) -> list[str]:
    """Return where the numbers stand that the claim is recomputed from, in words."""
    marked = [f"{_title(name)}: bold marks" for name in re.findall(r"'(\w+)'", claim.formula) if name in sources()]
    for table in dict.fromkeys(operand.table for operand in claim.operands):
        here = [operand for operand in claim.operands if operand.table == table]
        rows, columns = (dict.fromkeys(_words(getattr(operand, key)) for operand in here) for key in ("row", "column"))
        marked.append(f"{_title(table)}: {', '.join(rows)} / {', '.join(columns)}")
    return list(dict.fromkeys(marked))


def _words(label: str) -> str:
    return SHORTHANDS.get(label, label.strip("[]").replace(" | ", ", ") if label.startswith("[") else label)


def _title(name: str) -> str:
    """Return a table's number, or its section and title where it has no number."""
    row = sources()[name]
    numbered = row["title"].startswith("Table") or row["source"] != "report"
    return row["title"] if numbered else f"{row['section']}, {row['title']}"


def summary() -> dict:
    """Return the audit as JSON-ready data: how many claims are in each state, and the groups of disagreements."""
    audited = audit()
    states, rows = audited["state"].value_counts(), groups(audited)
    return {
        "claims": len(audited),
        **{state.replace(" ", "_"): int(states[state]) for state in STATES},
        **{f"by_{by}": pd.crosstab(audited[by], audited["state"]).to_dict("index") for by in ("kind", "document")},
        "grades": {grade: int((rows["grade"] == grade).sum()) for grade in GRADES},
        "groups": rows.assign(claims=rows["claims"].str.split(", ")).to_dict("records"),
    }


def printed(counted: Mapping) -> str:
    """Return `summary` as text: the counts, then every group of disagreements with its two places, gravest first."""
    counts = ", ".join(f"{counted[state.replace(' ', '_')]} {state}" for state in STATES)
    by_kind = pd.DataFrame(counted["by_kind"]).T
    parts = [f"{counted['claims']} claims, {counts}", by_kind.assign(claims=by_kind.sum(axis=1)).to_string()]
    parts.append(f"{len(counted['groups'])} groups of disagreements")
    for row in sorted(counted["groups"], key=lambda row: list(GRADES).index(row["grade"])):
        lines = [f"{row['group']:>2}  {row['title']} [{row['grade']}]"]
        for text in (row["first_place"], row["second_place"], row["consequence"], ", ".join(row["claims"])):
            lines.append(fill(f"- {text}", WIDTH, initial_indent="    ", subsequent_indent="      "))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
