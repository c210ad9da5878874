"""Tables and figures as a reader sees them, the same in a notebook and on the site.

A table holds numbers, never formatted text; formatting happens here, and every text is escaped. Nothing is computed
and no statistic is chosen here.
"""

import html
import io
import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure as Canvas

from medpsy.report import fonts
from medpsy.report.compare import KINDS, VERDICTS
from medpsy.report.plain import Plain, cells

MARGIN = " ±"  # the column "X ±" holds the 95 % margins of column "X" and is shown in the same cell
DPI = 150
MISSING = "–"
LONG = 30  # rows; a longer table scrolls within its page


@dataclass(frozen=True)
class Table:
    """Rows of numbers and names under a title.

    Args:
        columns: unique names; ``"X ±"`` right after ``"X"`` holds the margins of X.
        rows: one list per row, plain values; None where nothing was measured.
        decimals: shown for numbers with a fraction; the record keeps all of them.
        links: column -> one entry per row: which responses are behind the cell, as ``"model=NAME&suite=NAME"``, or
            ``"conversations#model=NAME"`` where they stand on another page of evidence than ``responses``; or None.
        marks: column -> one entry per row: whether the cell stands out, as the best of its column do.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Plain]]
    title: str = ""
    note: str = ""
    decimals: int = 2
    links: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    marks: Mapping[str, Sequence[bool]] = field(default_factory=dict)

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a data frame to compute with: number columns are numbers, a missing number is NaN."""
        return self.exact.infer_objects()

    @property
    def exact(self) -> pd.DataFrame:
        """The rows as a data frame of the very values: a missing cell stays None and a count stays whole."""
        return pd.DataFrame([list(row) for row in self.rows], columns=list(self.columns), dtype=object)

    @property
    def shown(self) -> list[str]:
        """Columns that get a column of their own on the page: all but the margins."""
        return [name for name in self.columns if not self._is_margin(name)]

    def _is_margin(self, name: str) -> bool:
        return name.endswith(MARGIN) and name.removesuffix(MARGIN) in self.columns

    def __repr__(self) -> str:
        lines = [[self._text(row, name) for name in self.shown] for row in self.rows]
        body = pd.DataFrame(lines, columns=self.shown).to_string(index=False)
        return "\n".join(part for part in (self.title, body, self.note) if part)

    def _repr_html_(self) -> str:
        return self.html()

    def html(self, evidence: Collection[str] = ()) -> str:
        """Return the table as HTML without blank lines; cells link to pages of `evidence` where `links` says so."""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.shown)
        body = "".join(self._row(number, evidence) for number in range(len(self.rows)))
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        note = f'<p class="table-note">{html.escape(self.note)}</p>' if self.note else ""
        table = f'<table class="medpsy sortable">{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        size = " long" if len(self.rows) > LONG else ""
        return f'<div class="medpsy-table{size}">{table}</div>{note}'

    def _row(self, number: int, evidence: Collection[str]) -> str:
        return "<tr>" + "".join(self._cell(number, name, evidence) for name in self.shown) + "</tr>"

    def _cell(self, number: int, name: str, evidence: Collection[str]) -> str:
        row = self.rows[number]
        value, text = row[list(self.columns).index(name)], html.escape(self._text(row, name))
        if name in self.marks and self.marks[name][number]:
            text = f"<strong>{text}</strong>"
        if target := self._target(number, name, evidence):
            text = f'<a href="{html.escape(target)}">{text}</a>'
        if is_number(value):
            return f'<td class="number" data-value="{value}">{text}</td>'
        if value in VERDICTS:
            text = f'<span class="verdict {KINDS.get(value, "open")}">{text}</span>'
        return f"<td>{text}</td>" if value is not None else f'<td class="missing" data-value="">{text}</td>'

    def _target(self, number: int, name: str, evidence: Collection[str]) -> str | None:
        link = self.links[name][number] if name in self.links else None
        page, _, filters = (link or "").rpartition("#")
        page = page or "responses"
        return f"{page}.html#{filters}" if filters and page in evidence else None

    def _text(self, row: Sequence[Plain], name: str) -> str:
        columns = list(self.columns)
        value = row[columns.index(name)]
        margin = row[columns.index(name + MARGIN)] if name + MARGIN in columns else None
        text = shown_value(value, self.decimals)
        return text if margin is None or value is None else f"{text} ± {shown_value(margin, self.decimals)}"


@dataclass(frozen=True)
class Figure:
    """A drawing with its title and the sentence that replaces it for a reader who cannot see it."""

    canvas: Canvas
    title: str
    alt: str

    def save(self, target: Path | BinaryIO, kind: str | None = None) -> None:
        """Draw into `target`; the kind (``"png"``, ``"svg"``) comes from the file name where it is not given.

        The same figure always gives the same file: no date is written and the ids in an SVG are seeded.
        """
        kind = kind or Path(target).suffix.removeprefix(".")
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        fonts.cover(self.canvas)
        with mpl.rc_context({"svg.hashsalt": "medpsy"}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # said once, with the way out
            self.canvas.savefig(target, format=kind, dpi=DPI, metadata=metadata)

    def _repr_png_(self) -> tuple[bytes, dict]:
        width, height = (int(inches * 100) for inches in self.canvas.get_size_inches())
        buffer = io.BytesIO()
        self.save(buffer, "png")
        return buffer.getvalue(), {"width": width, "height": height}


def table(
    frame: pd.DataFrame,
    title: str = "",
    *,
    note: str = "",
    decimals: int = 2,
    links: Mapping[str, Sequence[str | None]] | None = None,
    marks: Mapping[str, Sequence[bool]] | None = None,
) -> Table:
    """Return `frame` as a `Table`; a named index becomes columns, stacked column names are joined by a space.

    Raises:
        ValueError: two columns have the same name, or a cell is infinite.
    """
    flat = frame.reset_index() if any(name is not None for name in frame.index.names) else frame
    names = [" ".join(map(str, name)).strip() if isinstance(name, tuple) else str(name) for name in flat.columns]
    if len(set(names)) < len(names):
        raise ValueError(f"table {title!r} has two columns of the same name: {', '.join(sorted(names))}")
    flat = flat.set_axis(names, axis=1)
    return Table(names, cells(flat, f"table {title!r}"), title, note, decimals, links or {}, marks or {})


def is_number(value: Plain) -> bool:
    """Return whether `value` is a number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown_value(value: Plain, decimals: int) -> str:
    """Return `value` as a reader wants it: a dash where missing, yes and no, thousands separated."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _shown_float(value, decimals)
    return f"{value:,}".replace("-", "−") if isinstance(value, int) else str(value)


def _shown_float(value: float, decimals: int) -> str:
    if 0 < value < 0.5 * 10**-decimals:  # a p-value, say, which must not read as zero
        return f"<{10**-decimals:.{decimals}f}"
    return f"{value:,.{decimals}f}".replace("-", "−") if round(value, decimals) else f"{0:.{decimals}f}"


def said_score(score: float, margin: float) -> str:
    """Return what the words beside a figure say of one score; too little was asked for a margin where it is missing."""
    if pd.isna(score):
        return "not measured"
    return f"{score:.1f}, no margin" if pd.isna(margin) else f"{score:.1f} ± {margin:.1f}"
