"""What the audit concludes, one sentence with one verdict each, written from the tables it is given.

A fit that chance would give as well is `too few to tell`, never support.
"""

import pandas as pd

from medpsy.published import consistency
from medpsy.published.auditing import GRADES, Audit
from medpsy.published.claim import AGREE, DISAGREE, NOT_DERIVABLE

SUPPORT = {"fits": "pattern holds", "fits by chance too": "too few to tell", "does not fit": "pattern fails"}


def conclusions(found: Audit, sizes: pd.DataFrame, leads: pd.DataFrame, *, first: str, second: str) -> list[dict]:
    """Return ``{text, verdict, note}`` for claims, table checks, sample sizes, and the lead on the Average.

    Args:
        sizes: rows of `granularity.granularity` for one run count.
        leads: rows of `noise.leads` of `first` over `second`.
    """
    per_suite = [_sample_size(suite, rows) for suite, rows in sizes.groupby("suite", sort=False)]
    return [_claims(found), *_tables(), *per_suite, _lead(leads, first, second)]


def _claims(found: Audit) -> dict:
    counts = found.counts
    graded = [f"{grade}: {(found.groups['grade'] == grade).sum()}" for grade in GRADES]
    return {
        "text": f"{counts[AGREE]} of {counts[AGREE] + counts[DISAGREE]} claims that can be recomputed follow from the "
        f"printed tables; {counts[DISAGREE]} do not, in {len(found.groups)} groups",
        "verdict": "differs" if counts[DISAGREE] else "agrees",
        "note": f"{'; '.join(graded)}. {counts[NOT_DERIVABLE]} more claims cannot be decided from printed numbers",
    }


def _tables() -> list[dict]:
    checks = {
        "printed averages are the mean of their seven suites": consistency.averages(),
        "stage differences follow from the rows above them": consistency.deltas(),
        "quantities printed in several places are the same everywhere": consistency.same_quantity(),
    }
    return [_check(text, rows["state"]) for text, rows in checks.items()]


def _check(text: str, states: pd.Series) -> dict:
    close = (states == "within rounding").sum()
    return {
        "text": f"{(states != DISAGREE).sum()} of {len(states)} {text}",
        "verdict": "differs" if (states == DISAGREE).any() else "agrees",
        "note": f"{close} of them within rounding only" if close else "",
    }


def _sample_size(suite: str, rows: pd.DataFrame) -> dict:
    """Return what the printed decimals say of a suite: its first candidate, and the candidates they rule out."""
    candidate = rows.iloc[0]
    out = rows[(rows["reading"] == "does not fit") & (rows["selection"] != candidate["selection"])]
    excluded = [f"{row['selection']} ({row['questions']:,})" for row in out.to_dict("records")]
    return {
        "text": f"{suite}: {candidate['selection']} ({candidate['questions']:,}) in {candidate['runs']} runs "
        f"{candidate['reading']}",
        "verdict": SUPPORT[candidate["reading"]],
        "note": f"ruled out: {'; '.join(excluded)}" if excluded else "",
    }


def _lead(leads: pd.DataFrame, first: str, second: str) -> dict:
    average = leads.set_index("suite").loc["Average"]
    settled = "pattern holds" if average["lead"] > 0 else "pattern fails"
    return {
        "text": f"{first} leads {second} by {average['lead']:+.2f} on the Average; run noise can reach "
        f"{average['run margin']:.2f}",
        "verdict": "too few to tell" if average["reading"] == "within run noise" else settled,
        "note": "run noise at its upper bound; drawing other questions adds to it",
    }
