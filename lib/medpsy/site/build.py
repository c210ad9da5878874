"""The site of one profile, ``outputs/<profile>/report/index.html``: read from disk, without network or server.

A section's page is its executed notebook; its tables and figures, the front page, the ledger and the evidence come from
the records. Runs no notebook and computes no number. Text from outside enters Markdown only as a heading, with every
punctuation mark escaped, and HTML only through what escapes or cleans it: whatever a model wrote is text on the page.
Built in a folder of its own and swapped into place when it is whole.
"""

import html
import io
import json
import logging
import re
import shutil
import string
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nbformat
import nh3
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbformat import NotebookNode, v4

from medpsy import evaluate, strict, study
from medpsy.claims import KINDS, STATUSES
from medpsy.claims.draws import LEAST
from medpsy.claims.ledger import WORDS
from medpsy.files import whole_folder
from medpsy.published.claims import CARD_PREFIXES
from medpsy.record import FILE, MIME, Result, ResultError, read, refuse_secrets
from medpsy.show import Findings, claim_table, shown_value
from medpsy.site import evidence

NOTEBOOK, BIBLIOGRAPHY = "notebook.ipynb", "references.bib"
SECTION, TABLE = "14_ledger", "ledger"  # where the ledger is kept
TEMPLATES, STATIC = (Path(__file__).with_name(name) for name in ("templates", "static"))
STRICTLY = {"autoescape": True, "undefined": StrictUndefined, "keep_trailing_newline": True}
FILLED = Environment(loader=FileSystemLoader(TEMPLATES), **STRICTLY)
FILLED.filters["shown"] = shown_value
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PUNCTUATION = re.compile(f"([{re.escape(string.punctuation)}])")
LINK = re.compile(r"\[([^\]]+)\]\((\w+)\.ipynb\)")  # in Markdown: to a notebook beside the page
ACTIVE = re.compile(r"[<]|!(?=\[)")  # in Markdown: markup, and pictures that would be fetched
LISTED = strict.read(Path(__file__).with_name("html.yaml"))
PYTHON = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
TAGS, ATTRIBUTES = set(LISTED["tags"]), {tag: set(names) for tag, names in LISTED["attributes"].items()}
FILTERS = ("Verdict", "Section", "Notebook", "Audit")  # of the ledger
log = logging.getLogger(__name__)


class SiteError(RuntimeError):
    """Sphinx could not build the pages; the message is its own."""


class Section(NamedTuple):
    """One section of the report; `result` is None where it has not run, or its record is broken."""

    name: str
    title: str
    result: Result | None = None
    state: str = "not yet run"


@dataclass
class Page:
    """Markdown under construction; fragments of HTML are files beside it, so none can break out of its place."""

    path: Path
    lines: list[str] = field(default_factory=list)

    def heading(self, text: str, level: int = 1) -> None:
        self.lines.append(f"{'#' * level} {escaped(text)}")

    def html(self, content: str) -> None:
        name = f"{self.path.stem}-{len(self.lines)}.html"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.with_name(name).write_text(content, encoding="utf-8")
        self.lines.append(f"```{{raw}} html\n:file: {name}\n```")

    def fragment(self, template: str, **values: object) -> None:
        self.html(rendered(template, **values))

    def contents(self, entries: Sequence[str]) -> None:
        self.lines.append("\n".join(["```{toctree}", ":hidden:", "", *entries, "```"]))

    def text(self) -> str:
        return "\n\n".join(self.lines) + "\n"

    def write(self) -> None:
        self.path.write_text(self.text(), encoding="utf-8")


def build(profile: str) -> Path:
    """Build the site of `profile` and return its front page; a section without a record is listed as not yet run. A
    SiteError says that the pages could not be built (an earlier site stays as it was), a medpsy.record.SecretFound that
    a notebook holds the value of a key."""
    target, every = study.find_root() / "outputs" / profile / "report", sections(profile)
    done = [section.result for section in every if section.result]
    ledger = next((result for result in done if result.section == SECTION and TABLE in result.tables), None)
    with whole_folder(target) as site, tempfile.TemporaryDirectory(prefix="medpsy-site-") as temporary:
        source = Path(temporary) / "source"
        front_page(source, profile, every, ledger)
        if ledger:
            from medpsy import settle  # late: it brings what asks models

            ledger_page(source, ledger, settle.said(target.parent))
        for result in done:
            section_page(source / "sections" / result.section, result)
        references = Page(source / "references.md")  # what the notebooks cite
        references.heading("References")
        if (listed := study.find_root() / "notebooks" / BIBLIOGRAPHY).is_file():
            shutil.copyfile(listed, source / BIBLIOGRAPHY)
            references.lines.append("```{bibliography}\n:all:\n```")
        references.write()
        lesson_pages(source, {result.section for result in done})
        _sphinx(source, site, profile)
        for result in done:
            _copy_files(result, site)
    return target / "index.html"


def sections(profile: str) -> list[Section]:
    """Return every section there is, by name: those with a notebook in the project and those with a record."""
    folder, listed = study.find_root() / "outputs" / profile, []
    notebooks = {path.stem: path for path in (study.find_root() / "notebooks").glob("[0-9]*.ipynb")}
    records = {path.parent.name: path for file in (study.SO_FAR_RECORD, FILE) for path in folder.glob(f"*/{file}")}
    for name in sorted(notebooks.keys() | records.keys()):
        section = Section(name, (name in notebooks and heading(nbformat.read(notebooks[name], as_version=4))) or name)
        if name in records:
            try:
                result = read(records[name])
                state = evaluate.so_far_text(result.so_far) if result.so_far else "done"
                section = Section(name, result.title, result, state)
            except ResultError as error:
                log.warning("%s", error)
                section = section._replace(state="its record cannot be read; run it again")
        listed.append(section)
    return listed


def escaped(text: str) -> str:
    """Return `text` as one line of Markdown that shows exactly these characters."""
    return PUNCTUATION.sub(r"\\\1", " ".join(text.split()))


def front_page(folder: Path, profile: str, listed: Sequence[Section], ledger: Result | None) -> None:
    page, done = Page(folder / "index.md"), [section.result for section in listed if section.result]
    page.heading("MedPsy, rerun")
    settings = study.load(profile) if profile in study.profiles() else None
    page.fragment("front.html", profile=profile, study=settings, least=LEAST)
    if ledger:
        rows = ledger.table(TABLE).exact
        counts = rows["Verdict"].value_counts().reindex(list(WORDS), fill_value=0).to_dict()
        of_cards = int(rows["Claim"].str.startswith(CARD_PREFIXES).sum())
        page.heading("The published claims", 2)
        page.fragment("ledger_counts.html", counts=counts, kinds=KINDS, of_cards=of_cards)
    page.heading("Sections", 2)
    counted = {result.section: Counter(claim["verdict"] for claim in result.claims) for result in done}
    page.fragment("sections.html", sections=listed, verdicts=STATUSES, counted=counted)
    for result in done:
        if result.verdicts:
            page.heading(f"Verdicts: {result.title}", 2)
            page.html(Findings(result.verdicts)._repr_html_())
    pages = ["All claims <ledger>"] * bool(ledger) + [f"sections/{result.section}/index" for result in done]
    page.contents([*(path.stem for path in _written()), *pages, "references"])
    page.write()


def section_page(folder: Path, result: Result) -> None:
    """Write the page of a section: its executed notebook, or else its record, and what leads to files and evidence.
    Refuses a notebook that holds the value of a key."""
    executed = result.folder / NOTEBOOK
    if executed.is_file():
        refuse_secrets(executed.read_text(encoding="utf-8"), executed.name)
        notebook = nbformat.read(executed, as_version=4)
    else:  # it was run in JupyterLab
        parts = [{"table": name} for name in result.tables if name != TABLE]
        parts += [{"figure": name} for name in result.figures]
        outputs = [v4.new_output("display_data", metadata={MIME: part}) for part in parts]
        more = [claim_table(result.claims)] * bool(result.claims) + [Findings(result.verdicts)] * bool(result.verdicts)
        outputs += [v4.new_output("display_data", {"text/html": shown._repr_html_()}) for shown in more]
        hidden = {"outputs": outputs, "metadata": {"tags": ["remove-input"]}}  # a cell without code
        notebook = v4.new_notebook(cells=[v4.new_code_cell("record", **hidden)])
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = {output.get("metadata", {}).get(MIME, {}).get("table") for cell in code for output in cell.outputs}
    for cell in code:
        cell.outputs = [published(output, result) for output in cell.outputs]
    if not heading(notebook):
        notebook.cells.insert(0, v4.new_markdown_cell(f"# {escaped(result.title)}"))
    notebook.metadata = nbformat.from_dict(PYTHON)  # nothing else: run records hold paths, widgets hold scripts
    links, details = Page(folder / "links.md"), Page(folder / "details.md")
    so_far = result.so_far and evaluate.so_far_text(result.so_far)
    links.fragment("summary.html", counts=result.evidence, claims=bool(result.claims), so_far=so_far)
    details.heading("Settings and data", 2)
    hidden = {name: entry for name, entry in result.tables.items() if name not in shown}
    details.fragment("tables.html", tables=hidden, pages={TABLE: "../../ledger.html"})
    parts = {"Parameters": result.settings, "Chosen": result.chosen, "Tokens": result.tokens}
    parts |= {"Inputs": result.inputs, "Provenance": result.provenance}
    blocks = {name: json.dumps(value, indent=1, ensure_ascii=False) for name, value in parts.items() if value}
    details.fragment("settings.html", blocks=blocks)
    if result.evidence:
        details.contents([f"{kind.title} <{kind.name}>" for kind in result.evidence])
    notebook.cells.insert(1, v4.new_markdown_cell(links.text()))
    notebook.cells.append(v4.new_markdown_cell(details.text()))
    nbformat.write(notebook, folder / "index.ipynb")
    for kind in result.evidence:
        page = Page(folder / f"{kind.name}.md")
        page.heading(f"{kind.title}: {result.title}")
        source = f"../../data/{result.section}/{kind.name}/"
        page.fragment("evidence.html", kind=kind.name, source=source, note=evidence.NOTE)
        page.write()


def published(output: NotebookNode, result: Result) -> NotebookNode:
    """Return an output as a page may show it: text, pictures, and parts of the record; nothing that could act."""
    part = output.get("metadata", {}).get(MIME, {})  # of the record, as `medpsy.record.Record` notes it
    if (name := part.get("table")) in result.tables:
        table = result.table(name).html({kind.name for kind in result.evidence})  # leads to files and evidence
        text = rendered("table.html", table=Markup(table), csv=result.tables[name]["csv"])
        return v4.new_output("display_data", {"text/html": text})
    if (name := part.get("figure")) in result.figures:
        return v4.new_output("display_data", {"text/html": rendered("figure.html", **result.figures[name])})
    if "data" not in output:  # a stream or an error: plain text
        return output
    data = {kind: text for kind, text in output.data.items() if kind in LISTED["shown"]}
    if "text/html" in data:
        data["text/html"] = nh3.clean("".join(data["text/html"]), tags=TAGS, attributes=ATTRIBUTES)
    if "text/markdown" in data:
        inert = {"<": "&lt;", "!": "\\!"}
        data["text/markdown"] = ACTIVE.sub(lambda match: inert[match[0]], "".join(data["text/markdown"]))
    output.data = nbformat.from_dict(data)
    return output


def heading(notebook: NotebookNode) -> str:
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    match = re.search(r"^#\s+(.+)$", prose, re.M)
    return match.group(1).strip() if match else ""


def ledger_page(folder: Path, result: Result, settled: Mapping[str, str] = {}) -> None:
    """Write the page ``ledger.md``: every claim in one table that can be filtered and searched; `settled` is what
    `medpsy.settle` says of claims."""
    page, rows = Page(folder / "ledger.md"), result.table(TABLE).exact.to_dict("records")
    page.heading("Ledger: every claim and its verdict")
    choices = {name: list(dict.fromkeys(row[name] for row in rows)) for name in FILTERS}
    choices["Verdict"] = [word for word in WORDS if word in choices["Verdict"]]
    choices["Notebook"].sort()
    home = f"sections/{result.section}"
    page.fragment("ledger.html", rows=rows, choices=choices, kinds=KINDS, home=home, settled=settled)
    page.write()


def lesson_pages(folder: Path, done: set[str]) -> None:
    """Copy the pages that are written by hand; a link to a notebook leads to its page, if the section is `done`."""

    def linked(link: re.Match) -> str:
        return f"[{link[1]}](sections/{link[2]}/index.ipynb)" if link[2] in done else link[1]

    for path in _written():
        (folder / path.name).write_text(LINK.sub(linked, path.read_text(encoding="utf-8")), encoding="utf-8")


def _written() -> list[Path]:
    return sorted((study.find_root() / "notebooks").glob("*.md"))


def rendered(template: str, **values: object) -> str:
    """Return `template` filled with `values`, each escaped; a value that it wants and does not get is an error."""
    return FILLED.get_template(template).render(**values)


def _sphinx(source: Path, site: Path, profile: str) -> None:
    from sphinx.application import Sphinx  # late: a slip in a record needs no Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings, settings = io.StringIO(), strict.read(Path(__file__).with_name("sphinx.yaml"))
    settings |= {"templates_path": [str(TEMPLATES)], "html_static_path": [str(STATIC)]}
    settings |= {"bibtex_bibfiles": [BIBLIOGRAPHY]}
    settings["html_title"] = f"MedPsy, rerun ({profile})"
    try:
        with patch_docutils(), docutils_namespace():
            options = {"confoverrides": settings, "status": None, "warning": warnings}
            app = Sphinx(source, None, site, source.parent / "doctrees", "html", freshenv=True, **options)
            app.build()
    except (SphinxError, OSError) as error:
        raise SiteError(f"the pages of profile {profile} could not be built: {error}\n{warnings.getvalue()}") from error
    if app.statuscode:
        raise SiteError(f"the pages of profile {profile} could not be built:\n{warnings.getvalue()}")
    for line in COLOUR.sub("", warnings.getvalue()).splitlines():
        log.warning("%s", line)


def setup(app) -> None:
    """Make this module an extension of Sphinx that writes formulas as MathML, which browsers draw by themselves."""
    inline, block = (partial(_formula, display=display) for display in ("inline", "block"))
    app.add_html_math_renderer("mathml", (inline, None), (block, None))


def _formula(translator, node, *, display: str) -> None:
    """Write one formula; one that is none, such as two dollar signs in a text, is shown as it was written."""
    from docutils.nodes import SkipNode
    from latex2mathml.converter import convert

    try:
        translator.body.append(convert(node.astext(), display=display))
    except Exception:  # its errors have no class in common
        translator.body.append(f"<code>{html.escape(node.astext())}</code>")
    raise SkipNode


def _copy_files(result: Result, site: Path) -> None:
    """Copy the files that a section's pages link to, and write its evidence as scripts."""
    folder = site / "sections" / result.section
    files = [entry["csv"] for entry in result.tables.values()]
    files += [entry[kind] for entry in result.figures.values() for kind in ("png", "svg")]
    shutil.copyfile(result.folder / result.file, folder / FILE)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(result.folder / name, folder / name)
    if result.claims:
        pd.DataFrame(result.claims, dtype=object).to_csv(folder / "claims.csv", index=False)
    for kind in result.evidence:
        rows = map(evidence.published, kind.read(result.folder / kind.file))
        evidence.write(rows, site / "data" / result.section / kind.name, kind)
