"""The audit in one answer: as plain data for a program, as text for a terminal.

It states what was found and where; it draws no conclusion about the models.
"""

from collections import Counter
from textwrap import fill

import pandas as pd

from medpsy.published import consistency, granularity, noise
from medpsy.published.auditing import GRADES, Audit, audit
from medpsy.published.claim import AGREE, DISAGREE, NOT_DERIVABLE

WIDTH = 110  # columns of text
RUNS = 3  # MedPsy-4B card


def summary(found: Audit | None = None) -> dict:
    """Return the audit as JSON-ready data: counts, groups of disagreements, table checks, sample sizes, run noise.

    The first four keys are ``claims``, ``agree``, ``disagree`` and ``not_derivable``.
    """
    found = found or audit()
    counts = found.counts
    estimate, low, high = noise.run_noise_share(runs=RUNS)
    return {
        "claims": sum(counts.values()),
        "agree": counts[AGREE],
        "disagree": counts[DISAGREE],
        "not_derivable": counts[NOT_DERIVABLE],
        "by_kind": found.by_kind().to_dict("index"),
        "by_document": found.by_document().to_dict("index"),
        "grades": _ordered(found.groups["grade"]),
        "groups": [row | {"claims": row["claims"].split(", ")} for row in found.groups.to_dict("records")],
        "tables": consistency.tally(_checks()).to_dict("index"),
        "sample_sizes": _records(granularity.granularity((RUNS,))),
        "run_noise_share": {"estimate": estimate, "low": low, "high": high},
    }


def printed_summary(found: Audit | None = None) -> str:
    """Return the audit as text: the counts, then every group of disagreements with its two places."""
    found = found or audit()
    counts = found.counts
    head = [f"{sum(counts.values())} claims", *(f"{number} {state}" for state, number in counts.items())]
    groups = found.groups
    parts = [", ".join(head), _aligned(found.by_kind()), f"{len(groups)} groups of disagreements"]
    for grade in GRADES:
        parts += [_group(row) for row in groups[groups["grade"] == grade].to_dict("records")]
    return "\n\n".join(parts) + "\n"


def _group(row: dict) -> str:
    lines = [
        f"{row['group']:>2}  {row['title']} [{row['grade']}]",
        _indented(f"- {row['first_place']}"),
        _indented(f"- {row['second_place']}"),
        _indented(row["consequence"]),
        _indented(row["claims"]),
    ]
    return "\n".join(lines)


def _indented(text: str) -> str:
    return fill(text, WIDTH, initial_indent="    ", subsequent_indent="      " if text.startswith("- ") else "    ")


def _aligned(frame: pd.DataFrame) -> str:
    return frame.rename_axis(None).to_string()


def _checks() -> dict[str, pd.DataFrame]:
    return {
        "averages": consistency.averages(),
        "stage differences": consistency.deltas(),
        "same quantity in several places": consistency.same_quantity(),
    }


def _ordered(grades: pd.Series) -> dict[str, int]:
    found = Counter(grades)
    return {grade: found[grade] for grade in GRADES}


def _records(frame: pd.DataFrame) -> list[dict]:
    """Return the rows with None where a number is missing."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")
