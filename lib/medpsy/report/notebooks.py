"""An executed notebook made safe to publish: text, tables and pictures stay, everything that could act is removed.

Runs no cell. Whatever a model wrote into an output is text on the page, even where the notebook did not escape it.
"""

import re
from pathlib import Path

import nbformat
import nh3

from medpsy.report import leaks
from medpsy.report.withholding import MARK, NOTE

# Neither scripts nor widgets.
KINDS = ("text/html", "text/plain", "text/markdown", "image/png", "image/jpeg", "image/svg+xml")
PYTHON = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
TABLE_TAGS = {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
TEXT_TAGS = {"div", "span", "p", "br", "b", "strong", "i", "em", "code", "pre", "ul", "ol", "li", "sub", "sup", "a"} | {
    "details",
    "summary",
}
ATTRIBUTES = {
    "*": {"class", "title"},
    "td": {"data-value", "colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "a": {"href"},
}
ACTIVE = re.compile(r"[<]|!(?=\[)")  # in Markdown: markup, and pictures that would be fetched


def published(path: Path) -> nbformat.NotebookNode:
    """Return the notebook at `path` with safe outputs, and with a title where it has none.

    Raises:
        medpsy.report.leaks.SecretFound: a cell or an output holds the value of a key.
    """
    leaks.refuse(path.read_text(encoding="utf-8"), path.name)
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_safe(output) for output in cell.outputs]
    if not title(notebook):
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# Notebook"))
    notebook.metadata = nbformat.from_dict(PYTHON)  # nothing else: run records hold paths, widgets hold scripts
    return notebook


def title(notebook: nbformat.NotebookNode) -> str:
    """Return the text of the first heading of `notebook`, or an empty string."""
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = re.search(r"^#\s+(.+)$", prose, re.M)
    return found.group(1).strip() if found else ""


def _safe(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    if "data" not in output:  # a stream or an error: plain text
        return output
    data = {kind: text for kind, text in output.data.items() if kind in KINDS}
    if "text/html" in data:
        page = _joined(data["text/html"])
        shown = NOTE if MARK in page else page  # rows that a notebook at home may show
        data["text/html"] = nh3.clean(shown, tags=TABLE_TAGS | TEXT_TAGS, attributes=ATTRIBUTES)
    if "text/markdown" in data:
        data["text/markdown"] = ACTIVE.sub(_inert, _joined(data["text/markdown"]))
    output.data = nbformat.from_dict(data)
    return output


def _inert(match: re.Match) -> str:
    return "&lt;" if match.group() == "<" else "\\!"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
