"""The ledger's page of the site: every claim in one table that can be filtered and searched, from its record alone.

Computes nothing; every value is escaped by the template.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medpsy.published.cards import PREFIXES
from medpsy.report.compare import KINDS
from medpsy.report.display import MARGIN, shown_value
from medpsy.report.ledger import JSON_FILE, SECTION, TABLE, WORDS
from medpsy.report.pages import Page, Section
from medpsy.report.result import Result

DECIMALS = 2
FILTERS = ("Verdict", "Section", "Notebook", "Audit")


def record(sections: Sequence[Section]) -> Result | None:
    """Return the ledger's record, or None where it has not run."""
    found = (one.result for one in sections if one.name == SECTION and one.result)
    return next((result for result in found if TABLE in result.tables), None)


def counts(result: Result) -> dict[str, int]:
    """Return how many claims have which verdict, in the order of the verdicts, with those that none has."""
    found = Counter(row["Verdict"] for row in _rows(result))
    return {word: found[word] for word in WORDS}


def of_cards(result: Result) -> int:
    """Return how many of the claims are those that two model cards make beyond the documents of the audit."""
    return sum(row["Claim"].startswith(PREFIXES) for row in _rows(result))


def write_page(folder: Path, result: Result) -> None:
    """Write the page ``ledger.md`` into `folder`."""
    rows = _rows(result)
    page = Page(folder / "ledger.md")
    page.heading("Ledger: every claim and its verdict")
    choices = {name: list(dict.fromkeys(row[name] for row in rows)) for name in FILTERS}
    choices["Verdict"] = [word for word in WORDS if word in choices["Verdict"]]
    choices["Notebook"].sort()
    home = f"sections/{result.section}"
    kinds = {word: KINDS.get(word, "open") for word in WORDS}
    page.html("ledger.html", rows=[_shown(row) for row in rows], choices=choices, kinds=kinds, home=home)
    page.write()


def copy_data(site: Path, result: Result) -> None:
    """Copy the ledger's JSON beside its record in the finished `site`."""
    shutil.copyfile(result.folder / JSON_FILE, site / "sections" / result.section / JSON_FILE)


def _rows(result: Result) -> list[dict]:
    entry = result.tables[TABLE]
    return [dict(zip(entry["columns"], row, strict=True)) for row in entry["rows"]]


def _shown(row: dict) -> dict:
    """Return what the template needs of one claim: its texts, and its numbers as a reader wants them."""
    ours, margin = (shown_value(row[name], DECIMALS) for name in ("Ours", "Ours" + MARGIN))
    plan = [shown_value(row[f"Plan {name}"], 0) for name in ("questions", "runs", "tokens")]
    known = row["Ours"] is not None
    return row | {
        "ours": f"{ours} ± {margin}" if known and row["Ours" + MARGIN] is not None else ours if known else "",
        "plan": "{} × {} (questions × runs), {} tokens more".format(*plan) if row["Plan runs"] is not None else "",
        "others": row["Measured by"] if row["Measured by"] != f"{row['Notebook']}: {row['Verdict']}" else "",
    }
