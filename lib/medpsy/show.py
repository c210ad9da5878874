"""Tables and figures as a reader sees them, the same in a notebook and on the site.

A table holds plain numbers, never formatted text; formatting happens here, and every text is escaped. Nothing is
computed and no statistic is chosen here. Names in any script are drawn: what matplotlib's own font lacks comes from an
installed one (fonts of Chinese alone are larger than this project, so none is shipped).
"""

import html
import io
import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from itertools import groupby
from pathlib import Path, PurePath
from typing import BinaryIO
from urllib.parse import urlencode

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.figure import Figure as Canvas
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from medpsy.claims import KINDS
from medpsy.claims import STATUSES as VERDICTS
from medpsy.evaluate import AVERAGE, COUNTS
from medpsy.grading.readers import NO_GOLD, OUTCOMES
from medpsy.texts import storable

Plain = None | bool | int | float | str | list | dict
LEVEL = " | "  # between a heading that columns share and a column's own
MARGIN = " ±"  # the column "X ±" holds the 95 % margins of column "X" and is shown in the same cell
DPI = 150
MISSING = "–"
LONG = 30  # rows; a longer table scrolls within its page
BOXES = "Last Resort"  # matplotlib's own font: it has every character, as a box
AS_WRITTEN = "mathjax_ignore tex2jax_ignore"  # classes whose text MathJax 3 and 2 show as written, dollar signs too
CLAIM = {  # fields of a claim in the order and under the names of its table
    **{"id": "Claim", "claim": "What is claimed", "published": "Published", "ours": "Ours", "margin": "Ours ±"},
    **{"verdict": "Verdict", "note": "Note"},
}
pd.set_option("display.html.use_mathjax", False)  # the same for data frames that a notebook shows


@dataclass(frozen=True)
class Table:
    """Rows of numbers and names under a title.

    Args:
        columns: unique names; ``"X ±"`` right after ``"X"`` holds the margins of X, and ``"A | B"``, ``"A | C"`` stand
            below one heading A.
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
        body = "".join(self._row(number, evidence) for number in range(len(self.rows)))
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        note = f'<p class="table-note {AS_WRITTEN}">{html.escape(self.note)}</p>' if self.note else ""
        head = f"<thead>{self._head()}</thead>"
        table = f'<table class="medpsy sortable">{caption}{head}<tbody>{body}</tbody></table>'
        size = " long" if len(self.rows) > LONG else ""
        return f'<div class="medpsy-table{size} {AS_WRITTEN}">{table}</div>{note}'

    def _head(self) -> str:
        """Return one row of headings, or two where columns share one."""
        names = [tuple(map(html.escape, name.rpartition(LEVEL)[::2])) for name in self.shown]
        if not any(above for above, _ in names):
            return "<tr>" + "".join(f'<th scope="col">{name}</th>' for _, name in names) + "</tr>"
        first, second = "", ""
        for above, group in groupby(names, key=lambda name: name[0]):
            below = [name for _, name in group]
            if above:
                first += f'<th scope="colgroup" colspan="{len(below)}">{above}</th>'
                second += "".join(f'<th scope="col">{name}</th>' for name in below)
            else:
                first += "".join(f'<th scope="col" rowspan="2">{name}</th>' for name in below)
        return f"<tr>{first}</tr><tr>{second}</tr>"

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
            text = badge(value)
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
        _cover(self.canvas)
        with mpl.rc_context({"svg.hashsalt": "medpsy", "text.parse_math": False}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # said once, with the way out
            self.canvas.savefig(target, format=kind, dpi=DPI, metadata=metadata)

    def _repr_png_(self) -> tuple[bytes, dict]:
        width, height = (int(inches * 100) for inches in self.canvas.get_size_inches())
        buffer = io.BytesIO()
        self.save(buffer, "png")
        return buffer.getvalue(), {"width": width, "height": height}


@dataclass(frozen=True)
class Findings:
    """What a section concludes: sentences with a status, and perhaps a note, each."""

    rows: Sequence[Mapping[str, str]]

    def __repr__(self) -> str:
        return "\n".join(f"{row['verdict']}: {row['text']} {row.get('note', '')}".strip() for row in self.rows)

    def _repr_html_(self) -> str:
        return f'<ul class="verdicts {AS_WRITTEN}">{"".join(map(self._item, self.rows))}</ul>'

    def _item(self, row: Mapping[str, str]) -> str:
        note = f" <small>{html.escape(row['note'])}</small>" if row.get("note") else ""
        return f"<li>{badge(row['verdict'])} {html.escape(row['text'])}{note}</li>"


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


def badge(status: str) -> str:
    """Return the HTML of a claim's or finding's status, coloured by whether it is good, bad or open."""
    return f'<span class="verdict {KINDS.get(status, "open")}">{html.escape(status)}</span>'


def claim_table(claims: Sequence[Mapping]) -> Table:
    """Return the claims of a section with ours beside published."""
    frame = pd.DataFrame(claims, dtype=object).reindex(columns=list(CLAIM)).rename(columns=CLAIM)
    note = "95 % margins; where other models stand in, signs are tested."
    return table(frame, "Published claims, measured", note=note)


def score_table(
    scores: pd.DataFrame,
    title: str = "",
    *,
    by: str = "title",
    columns: Sequence[str] = (),
    leads: pd.DataFrame | None = None,
    printed: pd.DataFrame | None = None,
    source: str = "published",
    note: str = "Points, 95 % margins.",
) -> Table:
    """Return scores as the report prints them: a row per model, the best in the first column first, best ones bold.

    Args:
        scores: as of `medpsy.scoring`: ``model``, ``label``, ``score``, ``margin``, ``link`` and column `by`.
        by: the column that names the columns of the table.
        columns: their order; by default that of `scores`.
        leads: rows like those of `scores` with the differences of two models, shown below, the smallest first.
        printed: a published table, index model, shown below under `source`.
    """
    columns, parts, links = list(columns) or list(scores[by].unique()), [], []
    columns = [name for name in columns if name in set(scores[by])]
    for kind, rows in {"ours": scores, "ours, paired": leads}.items():
        if rows is None:
            continue
        keys, values = ["model", "label", by], ["score", "margin", "link"]
        cells = rows.reindex(columns=keys + values).set_index(keys)
        score, margin, link = (cells[name].unstack(by).reindex(columns=columns) for name in values)
        score = score.sort_values(columns[0], ascending=kind != "ours", kind="stable")
        both = score.join(margin.add_suffix(MARGIN))[[name + end for name in columns for end in ("", MARGIN)]]
        parts.append(both.droplevel("model").rename_axis("Model").reset_index().assign(Source=kind))
        links.append(link.reindex(score.index))
    if printed is not None:
        there = [name for name in columns if name in printed]
        parts.append(printed[there].rename_axis("Model").reset_index().assign(Source=source))
    frame = pd.concat(parts, ignore_index=True)[["Model", "Source", *parts[0].columns[1:-1]]]
    scored = frame.loc[frame["Source"] != "ours, paired", columns].astype(float)
    best = scored.eq(scored.groupby(frame["Source"]).transform("max")).reindex(frame.index, fill_value=False)
    links = pd.concat(links, ignore_index=True).reindex(frame.index).astype(object)
    links = links.where(links.notna(), None)
    return table(frame, title, note=note, links=links.to_dict("list"), marks=best.to_dict("list"))


def outcome_table(scores: pd.DataFrame, title: str = "Outcomes of all responses") -> Table:
    """Return how many responses of each model to each suite ended in which outcome, the sum of the suites first.

    Args:
        scores: as `medpsy.scoring.closed_ended` returns it.
    """
    counts = COUNTS if scores[NO_GOLD].any() else [name for name in COUNTS if name != NO_GOLD]
    frame = scores[["label", "title", *counts]].assign(title=scores["title"].where(scores["suite"] != AVERAGE, "all"))
    frame.columns = ["Model", "Suite", *(name.capitalize() for name in counts)]
    links = {
        name.capitalize(): [f"{link}&{urlencode({'outcome': name})}" for link in scores["link"]] for name in OUTCOMES
    }
    note = "Unreadable and cut off responses count as not correct; failed requests are not scored."
    return table(frame, title, note=note, links=links)


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


def plain(value: object, where: str, *, missing: bool = False) -> Plain:
    """Return `value` with every number, name and container as JSON has them.

    Args:
        where: name of the value, for the error message.
        missing: write NaN as null (a cell that was not measured) instead of refusing it.

    Raises:
        ValueError: a number is infinite, or NaN where `missing` is false.
        TypeError: JSON has no counterpart.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return storable(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return _number(value, where, missing)
    if value is pd.NA or value is pd.NaT:
        return _number(math.nan, where, missing)
    if isinstance(value, PurePath | date):
        return value.as_posix() if isinstance(value, PurePath) else value.isoformat()
    return _container(value, where, missing)


def cells(frame: pd.DataFrame, where: str) -> list[list[Plain]]:
    """Return the rows of `frame` as lists of plain values; a missing cell is null."""
    columns = [
        [plain(value, f"{where}, column {name!r}, row {row}", missing=True) for row, value in enumerate(frame[name])]
        for name in frame.columns
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _number(value: float, where: str, missing: bool) -> float | None:
    if math.isfinite(value):
        return value
    if missing and math.isnan(value):
        return None
    raise ValueError(f"{where} is {value}: write None where nothing was measured; an infinite number is an error")


def _container(value: object, where: str, missing: bool) -> list | dict:
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}", missing=missing) for key, item in value.items()}
    if isinstance(value, np.ndarray | Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(item, f"{where}[{i}]", missing=missing) for i, item in enumerate(items)]
    raise TypeError(f"{where} is a {type(value).__name__}; a result holds only numbers, text, lists and mappings")


class MissingGlyph(UserWarning):
    """No installed font has a character of a figure."""


def _cover(canvas: Canvas) -> None:
    """Give every text of `canvas` the fonts that its characters need, after the one that it has."""
    texts = {text: _lacking(text) for text in canvas.findobj(Text)}
    if lacking := set().union(*texts.values()):
        families = _families(lacking)
        for text in (text for text, own in texts.items() if own):
            text.set_fontfamily([*text.get_fontfamily(), *families])


def _families(characters: set[int]) -> list[str]:
    """Return installed fonts that together have `characters`; warns of those that none has."""
    found, left = [], set(characters)
    for font in sorted(font_manager.fontManager.ttflist, key=_plainest):
        if font.name.startswith(BOXES):
            continue
        if here := left & _characters(font.fname):
            found.append(font.name)
            left -= here
        if not left:
            return found
    some = "".join(map(chr, sorted(left)))[:20]
    warnings.warn(
        f"no installed font has {some!r}: the figure shows boxes; install one (Debian, Ubuntu: apt-get install "
        "fonts-noto-cjk, or fonts-noto for all scripts) and delete fontlist-*.json in matplotlib.get_cachedir()",
        MissingGlyph,
        stacklevel=2,
    )
    return found


def _plainest(font: font_manager.FontEntry) -> tuple:
    """Upright fonts of usual weight first, then by name, so that the same machine draws the same figure."""
    return font.style != "normal", font.weight not in (400, "normal", "regular"), font.name, font.fname


def _lacking(text: Text) -> set[int]:
    """Return the characters of `text` that none of its own fonts has."""
    characters = {ord(one) for one in text.get_text() if not one.isspace()}
    for family in text.get_fontfamily():
        own = text.get_fontproperties().copy()
        own.set_family(family)
        characters -= _characters(font_manager.findfont(own)) if characters else set()
    return characters


@cache
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a list of fonts may name a file that is gone
        return frozenset()
