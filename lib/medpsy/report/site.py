"""The site of one profile, ``outputs/<profile>/report/index.html``: read from disk, without network or server.

Shows what the sections' records hold; runs no notebook and computes no number. Built in a folder of its own and swapped
into place when it is whole.
"""

import io
import logging
import re
import shutil
import tempfile
from pathlib import Path

import nbformat
import pandas as pd

from medpsy import study
from medpsy.report import chunks, ledger_page, notebooks, pages, withholding
from medpsy.report.indexing import INDEXES
from medpsy.report.result import FILE, Result, ResultError, read_result, section_dir
from medpsy.report.templating import TEMPLATES

NOTEBOOK = "notebook.ipynb"
EVIDENCE_SCRIPTS = [
    f"evidence{name}.js" for name in ("_data", "_parts", "", "_questions", "_conversations")
]  # in order
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
log = logging.getLogger(__name__)


class SiteError(RuntimeError):
    """Sphinx could not build the pages; the message is its own."""


def build(profile: str) -> Path:
    """Build the site of `profile` and return its front page; a section without a record is listed as not yet run.

    Raises:
        SiteError: the pages could not be built; an earlier site stays as it was.
        medpsy.report.leaks.SecretFound: a notebook holds the value of a key.
    """
    target = section_dir("report", profile)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=target.parent) as temporary:
        source, site = Path(temporary) / "source", Path(temporary) / "site"
        found = sections(profile)
        write_sources(source, profile, found)
        _sphinx(source, site, profile)
        for section in found:
            if section.result:
                _copy_files(section.result, site)
        if ledger := ledger_page.record(found):
            ledger_page.copy_data(site, ledger)
        _swap(site, target)
    return target / "index.html"


def sections(profile: str) -> list[pages.Section]:
    """Return every section there is, by name: those with a notebook in the project and those with a record."""
    folder = study.ROOT / "outputs" / profile
    committed = {path.stem: path for path in (study.ROOT / "notebooks").glob("[0-9]*.ipynb")}
    recorded = {path.parent.name for path in folder.glob(f"*/{FILE}")}
    return [_section(folder / name, committed.get(name)) for name in sorted(committed.keys() | recorded)]


def write_sources(source: Path, profile: str, found: list[pages.Section]) -> None:
    """Write everything Sphinx reads into `source`."""
    ledger = ledger_page.record(found)
    counted = {"ledger": ledger_page.counts(ledger), "of_cards": ledger_page.of_cards(ledger)} if ledger else {}
    pages.front_page(source, profile, found, **counted)
    if ledger:
        ledger_page.write_page(source, ledger)
    for section in found:
        if not section.result:
            continue
        folder = source / "sections" / section.name
        executed = section.result.folder / NOTEBOOK
        pages.section_page(folder, section.result, executed.is_file())
        if executed.is_file():
            nbformat.write(notebooks.published(executed), folder / NOTEBOOK)
        for kind in section.result.evidence:
            pages.evidence_page(folder, section.result, kind, f"../../data/{section.name}/{kind.name}/")


def _section(folder: Path, notebook: Path | None) -> pages.Section:
    title = notebooks.title(nbformat.read(notebook, as_version=4)) if notebook else ""
    if not (folder / FILE).is_file():
        return pages.Section(folder.name, title or folder.name)
    try:
        result = read_result(folder / FILE)
    except ResultError as error:
        log.warning("%s", error)
        return pages.Section(folder.name, title or folder.name, problem="its record cannot be read; run it again")
    return pages.Section(folder.name, result.title, result)


def _sphinx(source: Path, site: Path, profile: str) -> None:
    from sphinx.application import Sphinx  # late: a notebook that writes a record needs no Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings = io.StringIO()
    try:
        with patch_docutils(), docutils_namespace():
            doctrees = source.parent / "doctrees"
            options = {"confoverrides": _configuration(profile), "status": None, "warning": warnings}
            app = Sphinx(source, None, site, doctrees, "html", freshenv=True, **options)
            app.build()
    except (SphinxError, OSError) as error:
        raise SiteError(f"the pages of profile {profile} could not be built: {error}\n{warnings.getvalue()}") from error
    if app.statuscode:
        raise SiteError(f"the pages of profile {profile} could not be built:\n{warnings.getvalue()}")
    for line in COLOUR.sub("", warnings.getvalue()).splitlines():
        log.warning("%s", line)


def _configuration(profile: str) -> dict:
    """Return Sphinx's settings; everything that would load from the network is off."""
    return {
        "project": "MedPsy, rerun",
        "extensions": ["myst_nb"],
        "templates_path": [str(TEMPLATES)],
        "html_static_path": [str(pages.STATIC)],
        "html_css_files": ["report.css"],
        "html_js_files": ["tables.js", "ledger.js", *EVIDENCE_SCRIPTS],
        "html_theme": "sphinx_book_theme",
        "html_theme_options": {
            "use_download_button": False,
            "home_page_in_toc": True,
            "show_navbar_depth": 1,
            "footer_content_items": [],
        },
        "html_context": {"default_mode": "auto"},
        "html_title": f"MedPsy, rerun ({profile})",
        "html_copy_source": False,
        "html_use_index": False,
        "html_show_sourcelink": False,
        "html_show_copyright": False,
        "html_show_search_summary": False,  # summaries are fetched, which a page from disk may not do
        "nb_execution_mode": "off",
        "nb_ipywidgets_js": {},
        "nb_merge_streams": True,
        "smartquotes": False,
        "source_suffix": {".md": "myst-nb", ".ipynb": "myst-nb"},
    }


def _copy_files(result: Result, site: Path) -> None:
    """Copy the files that a section's pages link to, and write its evidence as scripts."""
    folder = site / "sections" / result.section
    files = [entry["csv"] for entry in result.tables.values()]
    files += [entry[kind] for entry in result.figures.values() for kind in ("png", "svg")]
    for name in [FILE, *files]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(result.folder / name, folder / name)
    if result.claims:
        pd.DataFrame(result.claims, dtype=object).to_csv(folder / "claims.csv", index=False)
    for kind in result.evidence:
        rows = map(withholding.published, kind.read(result.folder / kind.file))
        chunks.write_chunks(rows, site / "data" / result.section / kind.name, INDEXES[kind]())


def _swap(site: Path, target: Path) -> None:
    """Put `site` where `target` is; the old site is moved aside first and comes back if that fails."""
    old = site.parent / "old"
    if target.exists():
        target.rename(old)
    try:
        site.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
