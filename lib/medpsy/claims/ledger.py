"""The ledger: every published claim once, with its audit, who measured it, its status, tier, and what would settle it.

A claim that several sections measured has the status of the section that answers for it, else that of the first one in
reading order; all are listed. What no section measured is `not testable`, with the reason, or `not yet run`.
"""

import re
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import pandas as pd

from medpsy import stats
from medpsy.claims.draws import DRAWS
from medpsy.claims.measure import NOT_TESTABLE, OPEN, RESOLUTION, STAND_IN, STATUSES, known
from medpsy.published.audit import DOCUMENTS
from medpsy.published.claims import Claim, every_claim, recompute

NOT_YET_RUN = "not yet run"
WORDS = (*STATUSES, NOT_YET_RUN)
AUDITS = {"agree": "agrees", "disagree": "disagrees", "not derivable": "not derivable"}
VALUES = ("review", "paper")  # profiles that run the published models, the smaller one first
RUNS, POWER = (1, 3, 5, 10), 0.8
PLACE = re.compile(r"(?:Table|Figure) \d+|\d+(?:\.\d+)*(?=$| )")


def ledger(
    profile: str, rows: Mapping[str, Sequence[Mapping]], *, runs: Sequence[int] = RUNS, power: float = POWER
) -> pd.DataFrame:
    """Return one row per published claim, in the order of the text, those of the two cards last.

    Args:
        rows: section that has run -> the `claims` of its record, in reading order.
        runs, power: what plans are made for, see `plans`.

    Returns:
        ``Notebook`` answers for the claim; ``Profile`` would test what this one cannot; ``Ours`` and ``Ours ±`` are in
        the claim's unit, points where that is empty; ``Questions`` and ``Runs`` are what was asked; ``Plans`` settle an
        open claim, cheapest first, which stands in ``Plan questions``, ``Plan runs`` and ``Plan tokens`` too.
    """
    measured: dict[str, dict[str, Mapping]] = {claim.id: {} for claim in every_claim()}
    for name, section_rows in rows.items():
        for row in section_rows:
            if row["id"] not in measured:
                raise ValueError(f"{name}: its record speaks of claim {row['id']!r}, which no document makes")
            measured[row["id"]].setdefault(name, row)
    entries = []
    for claim in every_claim():
        by_section = measured[claim.id]
        tested = {name: row for name, row in by_section.items() if row["verdict"] != NOT_TESTABLE} or by_section
        row = tested.get(claim.notebook) or next(iter(tested.values()), {})
        status, reason = _status(row, claim, claim.notebook in rows)
        planned = plans(row, runs=runs, power=power)
        effort, cheapest = row.get("effort") or {}, planned[0] if planned else {}
        entry = {"Claim": claim.id, "Document": DOCUMENTS[claim.source], "Section": section(claim)}
        entry |= {"Place": claim.section, "Statement": claim.text, "Published": claim.value, "Unit": claim.unit}
        entry |= {"Audit": AUDITS[recompute(claim).state], "Notebook": claim.notebook, "Verdict": status}
        entry |= {"Tier": row.get("tier", ""), "Ours": row.get("ours"), "Ours ±": row.get("margin")}
        entry |= {"Note": row.get("note", ""), "Reason": reason}
        beyond = VALUES[VALUES.index(profile) + 1 :] if profile in VALUES else VALUES  # may test what this one cannot
        entry["Profile"] = claim.profile if status == NOT_TESTABLE and claim.profile in beyond else ""
        entry["Measured by"] = "; ".join(f"{name}: {recorded['verdict']}" for name, recorded in by_section.items())
        entry |= {"Audit note": claim.note, "Questions": effort.get("questions"), "Runs": effort.get("runs")}
        entry |= {f"Plan {name}": cheapest.get(name) for name in ("questions", "runs", "tokens")}
        entries.append(entry | {"Plans": planned})
    return pd.DataFrame(entries, dtype=object)


def section(claim: Claim) -> str:
    """Return the section, table or figure of the report, or the other document, in which `claim` stands."""
    if claim.source != "report":
        return DOCUMENTS[claim.source]
    start = PLACE.match(claim.section)
    return start[0] if start else claim.section


def plans(row: Mapping, *, runs: Sequence[int] = RUNS, power: float = POWER) -> list[dict]:
    """Return one plan ``{runs, questions, tokens}`` per number of `runs` that can settle an open claim, cheapest first;
    none where its row of a record does not say what stood behind it. The truth is taken to be what was measured: a plan
    for a pattern shows the measured difference with the wanted power; where a published value is tested, or no change
    is claimed, the margin of a plan is narrow enough to call it reproduced. An order has no margin: the share of
    replicates in which it holds is turned into a distance in standard errors. Stored responses are not paid for
    again."""
    how = row.get("effort")
    distance = _distance(row, power) if how and row["verdict"] == OPEN and how["questions"] else None
    if distance is None:
        return []
    apart, error, power = distance
    noise, variance, affordable = how.get("run_share") or 0.0, error**2 * how["questions"], []
    between, within = (1 - noise) * variance, noise * variance * how["runs"]
    for planned in runs:
        questions = stats.questions_needed(apart, between, within, planned, suite=how.get("suite"), power=power)
        if questions is not None:
            stored = min(questions, how["questions"]) * min(planned, how["runs"])
            # the last digits of a mean depend on the order of its sum: a half must not fall to either side
            tokens = round(round(how["tokens"] * (questions * planned - stored), 3))
            affordable.append({"runs": planned, "questions": questions, "tokens": tokens})
    return sorted(affordable, key=lambda plan: (plan["tokens"], plan["runs"]))


def _distance(row: Mapping, power: float) -> tuple[float, float, float] | None:
    """Return what has to be resolved, its standard error now (same unit), and the power to see it with."""
    share = row["effort"].get("share")
    if share is not None:
        least = 1 / (2 * DRAWS)
        apart = abs(NormalDist().inv_cdf(min(max(share, least), 1 - least)))
        return (apart, 1.0, power) if apart else None
    ours, margin = row["ours"], row["margin"]
    if not known(margin) or not isinstance(ours, int | float) or not margin:
        return None
    neutral, resolution = row.get("neutral", 0.0), row.get("resolution", RESOLUTION)
    if row.get("tier") not in (STAND_IN, None) or row["published"] == neutral:  # shown by a narrow margin
        return resolution, margin / stats.Z, 0.5  # at a power of one half, what is just seen is one margin away
    return (abs(ours - neutral), margin / stats.Z, power) if ours != neutral else None


def _status(row: Mapping, claim: Claim, has_run: bool) -> tuple[str, str]:
    """Return the status of a claim, and the reason where it is `not testable`."""
    if row and row["verdict"] != NOT_TESTABLE:
        return row["verdict"], ""
    if claim.fact:
        return NOT_TESTABLE, claim.fact
    if row:
        return NOT_TESTABLE, row["note"] or "what was measured here does not decide it"
    return (NOT_TESTABLE, "its section ran and measured nothing that decides it") if has_run else (NOT_YET_RUN, "")
