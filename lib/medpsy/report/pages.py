"""The pages of the site as Sphinx sources: a Markdown skeleton, and beside it HTML fragments with every value escaped.

Computes nothing: what a page shows is in a section's record. Text from outside enters Markdown only as a heading, with
every punctuation mark escaped, and HTML only through templates that escape.
"""

import json
import re
import string
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from medpsy.report.compare import KINDS, VERDICTS
from medpsy.report.display import Table, table
from medpsy.report.result import Result

TEMPLATES = Path(__file__).with_name("templates")
STATIC = Path(__file__).with_name("static")
PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")
CLAIM = {  # fields of a claim in the order and under the names of the page
    **{"id": "Claim", "claim": "Statement", "verdict": "Verdict", "published": "Published", "ours": "Ours"},
    **{"margin": "Ours ±", "note": "Note"},
}
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
        (self.path.parent / name).write_text(_templates().get_template(template).render(**values), encoding="utf-8")
        self.lines.append(f"```{{raw}} html\n:file: {name}\n```")

    def contents(self, entries: list[str]) -> None:
        self.lines.append("\n".join(["```{toctree}", ":hidden:", "", *entries, "```"]))

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n\n".join(self.lines) + "\n", encoding="utf-8")


def escaped(text: str) -> str:
    """Return `text` as one line of Markdown that shows exactly these characters."""
    return PUNCTUATION.sub(r"\\\1", " ".join(text.split()))


def front_page(folder: Path, profile: str, sections: list[Section]) -> None:
    """Write the page with which the site opens: what this is, every section with its verdicts, what produced it."""
    page = Page(folder / "index.md")
    page.heading("MedPsy, rerun")
    page.html("front.html", profile=profile, meaning=MEANINGS.get(profile, "a profile of your own."))
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
    page.contents([f"sections/{result.section}/index" for result in done])
    page.write()


def section_page(folder: Path, result: Result, has_notebook: bool) -> None:
    """Write the page of one section from its record alone."""
    page = Page(folder / "index.md")
    responses = result.responses["rows"] if result.responses else 0
    page.heading(result.title)
    page.html("summary.html", notebook=has_notebook, responses=responses)
    if result.verdicts:
        page.heading("Verdicts", 2)
        page.html("verdicts.html", verdicts=result.verdicts, kinds=_kinds())
    _tables(page, result)
    _figures(page, result)
    _claims(page, result)
    page.heading("Settings", 2)
    page.html("settings.html", blocks=_settings(result))
    entries = ["Notebook <notebook>"] * has_notebook + ["Responses <responses>"] * bool(responses)
    if entries:
        page.contents(entries)
    page.write()


def responses_page(folder: Path, result: Result, source: str) -> None:
    """Write the page on which the responses of a section are read; `source` leads from it to their data."""
    page = Page(folder / "responses.md")
    page.heading(f"Responses: {result.title}")
    page.html("responses.html", source=source)
    page.write()


def claims_table(result: Result) -> Table:
    """Return the claims a section touched, one row each, without what the section adds of its own."""
    frame = pd.DataFrame(result.claims, dtype=object)
    return table(frame[[name for name in CLAIM if name in frame]].rename(columns=CLAIM))


def _tables(page: Page, result: Result) -> None:
    if result.tables:
        page.heading("Tables", 2)
    for name, entry in result.tables.items():
        shown = result.table(name).html("responses.html" if result.responses else None)
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
        "responses": result.responses["rows"] if result and result.responses else 0,
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


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
