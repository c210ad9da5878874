"""The pages of the site as Sphinx sources: a Markdown skeleton, and beside it HTML fragments with every value escaped.

Computes nothing: what a page shows is in a section's record. Text from outside enters Markdown only as a heading, with
every punctuation mark escaped, and HTML only through templates that escape.
"""

import json
import re
import string
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from medpsy.report.compare import KINDS, VERDICTS
from medpsy.report.display import Table, table
from medpsy.report.evidence import Evidence
from medpsy.report.result import Result
from medpsy.report.templating import rendered
from medpsy.report.withholding import NOTE

STATIC = Path(__file__).with_name("static")
PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")
CLAIM = {  # fields of a claim in the order and under the names of the page
    **{"id": "Claim", "claim": "Statement", "verdict": "Verdict", "published": "Published", "ours": "Ours"},
    **{"margin": "Ours ±", "note": "Note"},
}
ELSEWHERE = {"ledger": "../../ledger.html"}  # tables that have a page of their own
MEANINGS = {
    "smoke": "a test of every step with a few questions. Its numbers mean nothing.",
    "mini": "a fictional medicine and small models trained for it. Patterns are tested, published values are not.",
    "review": "the released models on the real benchmarks. Published values are tested.",
    "paper": "everything as the report did it. Published values are tested.",
}


@dataclass(frozen=True)
class Section:
    """One section of the report; `result` is None where it has not run; `problem` names a broken record."""

    name: str
    title: str
    result: Result | None = None
    problem: str = ""

    @property
    def state(self) -> str:
        return "done" if self.result else self.problem or "not yet run"


@dataclass
class Page:
    """A Markdown page under construction; fragments of HTML are files beside it, so none can break out of its place."""

    path: Path
    lines: list[str] = field(default_factory=list)
    fragments: int = 0

    def heading(self, text: str, level: int = 1) -> None:
        self.lines.append(f"{'#' * level} {escaped(text)}")

    def html(self, template: str, **values: object) -> None:
        self.fragments += 1
        name = f"{self.path.stem}-{self.fragments}.html"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        (self.path.parent / name).write_text(rendered(template, **values), encoding="utf-8")
        self.lines.append(f"```{{raw}} html\n:file: {name}\n```")

    def contents(self, entries: list[str]) -> None:
        self.lines.append("\n".join(["```{toctree}", ":hidden:", "", *entries, "```"]))

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n\n".join(self.lines) + "\n", encoding="utf-8")


def escaped(text: str) -> str:
    """Return `text` as one line of Markdown that shows exactly these characters."""
    return PUNCTUATION.sub(r"\\\1", " ".join(text.split()))


def front_page(
    folder: Path, profile: str, sections: list[Section], ledger: dict[str, int] | None = None, of_cards: int = 0
) -> None:
    """Write the page with which the site opens: what this is, every section with its verdicts, what produced it.

    Args:
        ledger, of_cards: verdict -> number of published claims, where the ledger has run; how many two cards add.
    """
    page = Page(folder / "index.md")
    page.heading("MedPsy, rerun")
    page.html("front.html", profile=profile, meaning=MEANINGS.get(profile, "a profile of your own."))
    if ledger:
        page.heading("The published claims", 2)
        page.html("ledger_counts.html", counts=ledger, kinds=_kinds(), of_cards=of_cards)
    page.heading("Sections", 2)
    page.html("sections.html", rows=[_row(section) for section in sections], verdicts=VERDICTS)
    done = [section.result for section in sections if section.result]
    if any(result.verdicts for result in done):
        page.heading("Verdicts", 2)
    for result in done:
        if result.verdicts:
            page.heading(result.title, 3)
            page.html("verdicts.html", verdicts=result.verdicts, kinds=_kinds())
    if done:
        page.heading("What produced this", 2)
        page.html("settings.html", blocks=_provenances(done))
    page.contents(["All claims <ledger>"] * bool(ledger) + [f"sections/{result.section}/index" for result in done])
    page.write()


def section_page(folder: Path, result: Result, has_notebook: bool) -> None:
    """Write the page of one section from its record alone."""
    page = Page(folder / "index.md")
    page.heading(result.title)
    page.html("summary.html", notebook=has_notebook, counts=result.evidence)
    if result.verdicts:
        page.heading("Verdicts", 2)
        page.html("verdicts.html", verdicts=result.verdicts, kinds=_kinds())
    _tables(page, result)
    _figures(page, result)
    _claims(page, result)
    page.heading("Settings", 2)
    page.html("settings.html", blocks=_settings(result))
    entries = ["Notebook <notebook>"] * has_notebook + [f"{kind.title} <{kind.name}>" for kind in result.evidence]
    if entries:
        page.contents(entries)
    page.write()


def evidence_page(folder: Path, result: Result, kind: Evidence, source: str) -> None:
    """Write the page on which one kind of a section's evidence is read; `source` leads from it to its data."""
    page = Page(folder / f"{kind.name}.md")
    page.heading(f"{kind.title}: {result.title}")
    page.html("evidence.html", kind=kind.name, source=source, note=NOTE)
    page.write()


def claims_table(result: Result) -> Table:
    """Return the claims a section touched, one row each, without what the section adds of its own."""
    frame = pd.DataFrame(result.claims, dtype=object)
    return table(frame[[name for name in CLAIM if name in frame]].rename(columns=CLAIM))


def _tables(page: Page, result: Result) -> None:
    if result.tables:
        page.heading("Tables", 2)
    for name, entry in result.tables.items():
        if name in ELSEWHERE:
            more = {"page": ELSEWHERE[name], "title": entry["title"], "rows": len(entry["rows"]), "csv": entry["csv"]}
            page.html("elsewhere.html", **more)
            continue
        shown = result.table(name).html({kind.name for kind in result.evidence})
        page.html("table.html", table=Markup(shown), csv=entry["csv"])


def _figures(page: Page, result: Result) -> None:
    if result.figures:
        page.heading("Figures", 2)
    for entry in result.figures.values():
        page.html("figure.html", **entry)


def _claims(page: Page, result: Result) -> None:
    if result.claims:
        page.heading("Claims", 2)
        page.html("table.html", table=Markup(claims_table(result).html()), csv="claims.csv")


def _row(section: Section) -> dict:
    result = section.result
    return {
        "title": section.title,
        "state": section.state,
        "href": f"sections/{section.name}/index.html" if result else None,
        "counts": Counter(claim["verdict"] for claim in result.claims) if result else {},
        "responses": sum(result.evidence.values()) if result else 0,
        "seconds": result.seconds if result else None,
    }


def _provenances(results: list[Result]) -> dict[str, str]:
    """Return every distinct provenance, named by the sections that share it."""
    shared: dict[str, list[str]] = {}
    for result in results:
        shared.setdefault(json.dumps(result.provenance, indent=1, ensure_ascii=False), []).append(result.section)
    return {", ".join(names): text for text, names in shared.items()}


def _settings(result: Result) -> dict[str, str]:
    parts = {"Parameters": result.settings, "Chosen": result.chosen, "Tokens": result.tokens}
    parts |= {"Inputs": result.inputs, "Provenance": result.provenance}
    return {name: json.dumps(value, indent=1, ensure_ascii=False) for name, value in parts.items() if value}


def _kinds() -> dict[str, str]:
    return {verdict: KINDS.get(verdict, "open") for verdict in VERDICTS}
