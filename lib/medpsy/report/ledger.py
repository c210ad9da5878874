"""The ledger: every published claim once, with what its audit says, who measured it, the verdict, and what is missing.

Fed by the records of the sections (`result.json`) and by `medpsy.published`; measures nothing and runs nothing. A claim
that several sections measured has the verdict of the section that answers for it (`responsibility`), else that of the
first one in reading order; all are listed. What no section measured is `not testable`, with the reason, or
`not yet run`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from medpsy import study
from medpsy.files import write_text
from medpsy.published import Claim, audit, card_claims, claims, recompute
from medpsy.published.auditing import DOCUMENTS
from medpsy.report.compare import VERDICTS, mode
from medpsy.report.plain import plain
from medpsy.report.responsibility import AUDIT, VALUES, Responsible, responsible
from medpsy.report.result import FILE, Result, read_result
from medpsy.report.settling import POWER, RUNS, settled

SECTION = "14_ledger"
TABLE = "ledger"  # name of the table that holds all of it
JSON_FILE = "ledger.json"
NOT_TESTABLE, NOT_YET_RUN = "not testable", "not yet run"
WORDS = (*VERDICTS, NOT_YET_RUN)
AUDITS = {"agree": "agrees", "disagree": "disagrees", "not derivable": "not derivable"}
PLACE = re.compile(r"(?:Table|Figure) \d+|\d+(?:\.\d+)*(?=$| )")


class LedgerError(ValueError):
    """A record speaks of a claim that was never published; the message names section and claim."""


def records(profile: str) -> dict[str, Result]:
    """Return the records of all sections of `profile` that may measure claims, in reading order.

    Raises:
        medpsy.report.result.ResultError: a record cannot be read; the message says which and what to do.
    """
    paths = sorted((study.ROOT / "outputs" / profile).glob(f"[0-9]*/{FILE}"))
    return {path.parent.name: read_result(path) for path in paths if path.parent.name not in (AUDIT, SECTION)}


def ledger(
    profile: str,
    results: Mapping[str, Result] | None = None,
    *,
    runs: Sequence[int] = RUNS,
    power: float = POWER,
) -> list[dict]:
    """Return one entry per published claim, in the order of the text, those of the two cards last.

    Args:
        results: section -> record; those of `profile` by default.
        runs, power: what plans are made for, see `medpsy.report.settling`.

    Returns:
        Entries ``{id, document, section, place, text, value, unit, audit, notebook, measured_by, verdict, reason,
        profile, ours, margin, note, audit_note, questions, runs, plans}``. `notebook` answers for the claim; `profile`
        would test what this one cannot; `ours` and `margin` are in the claim's unit, points where that is empty;
        `questions` and `runs` are what was asked; `plans` settle an open claim, cheapest first.

    Raises:
        LedgerError: a record speaks of a claim that does not exist.
    """
    results = records(profile) if results is None else results
    measured, states = _measured(results), _states()
    found = []
    for claim in (*claims(), *card_claims()):
        rows, owner = measured.get(claim.id, {}), responsible(claim)
        row = _counting(rows, owner)
        entry = {"id": claim.id, "document": DOCUMENTS[claim.source], "section": section(claim)}
        entry |= {"place": claim.section, "text": claim.text, "value": claim.value, "unit": claim.unit}
        entry |= {"audit": AUDITS[states[claim.id]], "notebook": owner.notebook}
        entry |= {"measured_by": "; ".join(f"{name}: {one['verdict']}" for name, one in rows.items())}
        entry |= _outcome(row, owner, owner.notebook in results, profile) | {"audit_note": claim.note}
        found.append(entry | _plans(row or {}, profile, runs, power))
    return found


def section(claim: Claim) -> str:
    """Return the section, table or figure of the report, or the other document, in which `claim` stands."""
    if claim.source != "report":
        return DOCUMENTS[claim.source]
    found = PLACE.match(claim.section)
    return found[0] if found else claim.section


def write_json(folder: Path, profile: str, entries: Sequence[Mapping]) -> Path:
    """Write the ledger as ``{profile, claims: [...]}`` to `ledger.json` in `folder`, whole or not at all."""
    found = plain({"profile": profile, "claims": list(entries)}, SECTION, missing=True)
    return write_text(folder / JSON_FILE, json.dumps(found, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def _states() -> dict[str, str]:
    """Return what the arithmetic says of every claim."""
    found = audit().claims.set_index("id")["state"].to_dict()
    return found | {claim.id: recompute(claim).state for claim in card_claims()}


def _measured(results: Mapping[str, Result]) -> dict[str, dict[str, dict]]:
    """Return claim -> section -> the row in which that section recorded it; of several the first."""
    known, found = {claim.id for claim in (*claims(), *card_claims())}, {}
    for name, result in results.items():
        for row in result.claims:
            if row["id"] not in known:
                raise LedgerError(f"{name}: its record speaks of claim {row['id']!r}, which no document makes")
            found.setdefault(row["id"], {}).setdefault(name, row)
    return found


def _counting(found: Mapping[str, dict], owner: Responsible) -> dict | None:
    """Return the row that counts: one that tested the claim before one that could not, the owner's before others."""
    tested = {name: row for name, row in found.items() if row["verdict"] != NOT_TESTABLE}
    rows = tested or found
    return rows.get(owner.notebook) or next(iter(rows.values()), None)


def _outcome(row: Mapping | None, owner: Responsible, has_run: bool, profile: str) -> dict:
    verdict, reason = _verdict(row, owner, has_run)
    elsewhere = owner.profile if verdict == NOT_TESTABLE and _beyond(owner.profile, profile) else ""
    numbers = {key: row and row[key] for key in ("ours", "margin")}
    return {"verdict": verdict, "reason": reason, "profile": elsewhere} | numbers | {"note": row["note"] if row else ""}


def _verdict(row: Mapping | None, owner: Responsible, has_run: bool) -> tuple[str, str]:
    """Return the verdict of a claim, and the reason where it is `not testable`."""
    if row and row["verdict"] != NOT_TESTABLE:
        return row["verdict"], ""
    if owner.fact:
        return NOT_TESTABLE, owner.fact
    if row:
        return NOT_TESTABLE, row["note"] or "what was measured here does not decide it"
    if has_run:
        return NOT_TESTABLE, "its section ran and measured nothing that decides it"
    return NOT_YET_RUN, ""


def _beyond(wanted: str, profile: str) -> bool:
    """Return whether profile `wanted` may test what `profile` cannot."""
    if not wanted:
        return False
    return mode(profile) == "patterns" or (profile in VALUES and VALUES.index(wanted) > VALUES.index(profile))


def _plans(row: Mapping, profile: str, runs: Sequence[int], power: float) -> dict:
    effort = row.get("effort") or {}
    plans = settled(row, profile, runs=runs, power=power) if row else []
    return {"questions": effort.get("questions"), "runs": effort.get("runs"), "plans": [vars(plan) for plan in plans]}
