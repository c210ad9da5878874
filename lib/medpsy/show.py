"""Tables and figures as a reader sees them, the same in a notebook and on the site.

A table holds plain numbers, never formatted text; formatting happens here, and every text is escaped. Names in any
script are drawn: what matplotlib's own font lacks comes from an installed one (none is shipped).
"""

import html
import io
import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache, cached_property
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any
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
from medpsy.files import storable
from medpsy.grading.readers import NO_GOLD, OUTCOMES
from medpsy.scoring import AVERAGE, COUNTS

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
    """Rows of numbers and names under a title. Column ``"X ±"`` holds the 95 % margins of ``"X"``, and ``"A | B"``,
    ``"A | C"`` stand below one heading A. A link is ``"model=NAME&suite=NAME"``, which responses are behind a cell, or
    ``"conversations#model=NAME"`` for another page of evidence than ``responses``."""

    columns: Sequence[str]  # unique names
    rows: Sequence[Sequence[Plain]]  # None where nothing was measured
    title: str = ""
    note: str = ""
    decimals: int = 2  # shown for numbers with a fraction; the record keeps all of them
    links: Mapping[str, Sequence[str | None]] = field(default_factory=dict)  # column -> link of each row's cell
    marks: Mapping[str, Sequence[bool]] = field(default_factory=dict)  # column -> whether each row's cell stands out

    @property
    def exact(self) -> pd.DataFrame:
        """The rows as a data frame of the very values: a missing cell stays None and a count stays whole."""
        return pd.DataFrame([list(row) for row in self.rows], columns=list(self.columns), dtype=object)

    @property
    def shown(self) -> list[str]:
        """Columns that get a column of their own on the page: all but the margins."""
        margins = {name + MARGIN for name in self.columns}
        return [name for name in self.columns if name not in margins]

    def __repr__(self) -> str:
        lines = [[self._text(row, name) for name in self.shown] for row in self._named()]
        body = pd.DataFrame(lines, columns=self.shown).to_string(index=False)
        return "\n".join(part for part in (self.title, body, self.note) if part)

    def _repr_html_(self) -> str:
        return self.html()

    def html(self, evidence: Collection[str] = ()) -> str:
        """Return the table as HTML without blank lines; cells link to pages of `evidence` where `links` says so."""
        lines = ((self._cell(at, row, name, evidence) for name in self.shown) for at, row in enumerate(self._named()))
        body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in lines)
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        note = f'<p class="table-note {AS_WRITTEN}">{html.escape(self.note)}</p>' if self.note else ""
        table = f'<table class="medpsy sortable">{caption}<thead>{self._head()}</thead><tbody>{body}</tbody></table>'
        size = " long" if len(self.rows) > LONG else ""
        return f'<div class="medpsy-table{size} {AS_WRITTEN}">{table}</div>{note}'

    def _named(self) -> list[dict[str, Plain]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def _head(self) -> str:
        """Return one row of headings, or two where columns share one."""
        names = [tuple(map(html.escape, name.rpartition(LEVEL)[::2])) for name in self.shown]
        grouped, first, second = any(above for above, _ in names), "", ""
        for above, group in groupby(names, key=lambda name: name[0]):
            below = "".join(f'<th scope="col">{name}</th>' for _, name in group)
            if above:
                first += f'<th scope="colgroup" colspan="{below.count("<th")}">{above}</th>'
                second += below
            else:
                first += below.replace('"col"', '"col" rowspan="2"') if grouped else below
        return f"<tr>{first}</tr>" + (f"<tr>{second}</tr>" if second else "")

    def _cell(self, number: int, row: Mapping[str, Plain], name: str, evidence: Collection[str]) -> str:
        value, text = row[name], html.escape(self._text(row, name))
        if name in self.marks and self.marks[name][number]:
            text = f"<strong>{text}</strong>"
        page, _, filters = ((self.links[name][number] if name in self.links else None) or "").rpartition("#")
        if filters and (page := page or "responses") in evidence:
            text = f'<a href="{html.escape(f"{page}.html#{filters}")}">{text}</a>'
        if is_number(value):
            return f'<td class="number" data-value="{value}">{text}</td>'
        if value is None:
            return f'<td class="missing" data-value="">{text}</td>'
        return f"<td>{badge(value) if value in VERDICTS else text}</td>"

    def _text(self, row: Mapping[str, Plain], name: str) -> str:
        value, margin = row[name], row.get(name + MARGIN)
        text = shown_value(value, self.decimals)
        return text if margin is None or value is None else f"{text} ± {shown_value(margin, self.decimals)}"


@dataclass(frozen=True)
class Figure:
    """A drawing with its title and the sentence that replaces it for a reader who cannot see it."""

    canvas: Canvas
    title: str
    alt: str

    def save(self, target: Path) -> None:
        """Draw into a file of the kind that its name says; the same figure always gives the same file."""
        kind = target.suffix.removeprefix(".")
        target.write_bytes(self._png if kind == "png" else self._drawn(kind))

    def _drawn(self, kind: str) -> bytes:
        metadata, sink = {"Date": None} if kind == "svg" else {"Software": None}, io.BytesIO()
        _cover(self.canvas)
        with mpl.rc_context({"svg.hashsalt": "medpsy", "text.parse_math": False}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # said once, with the way out
            self.canvas.savefig(sink, format=kind, dpi=DPI, metadata=metadata)
        self.canvas.set_layout_engine("none")  # it is laid out: that takes as long as drawing
        return sink.getvalue()

    @cached_property
    def _png(self) -> bytes:
        return self._drawn("png")

    def _repr_png_(self) -> tuple[bytes, dict]:
        width, height = (int(inches * 100) for inches in self.canvas.get_size_inches())
        return self._png, {"width": width, "height": height}


@dataclass(frozen=True)
class Findings:
    """What a section concludes: sentences with a status, and perhaps a note, each."""

    rows: Sequence[Mapping[str, str]]

    def __repr__(self) -> str:
        return "\n".join(f"{row['verdict']}: {row['text']} {row.get('note', '')}".strip() for row in self.rows)

    def _repr_html_(self) -> str:
        items = ""
        for row in self.rows:
            note = f" <small>{html.escape(row['note'])}</small>" if row.get("note") else ""
            items += f"<li>{badge(row['verdict'])} {html.escape(row['text'])}{note}</li>"
        return f'<ul class="verdicts {AS_WRITTEN}">{items}</ul>'


def table(frame: pd.DataFrame, title: str = "", **options: Any) -> Table:
    """Return `frame` as a `Table` with `options`, the other fields of one; a named index becomes columns, stacked
    column names are joined by a space. Refuses two columns of the same name and an infinite cell."""
    flat = frame.reset_index() if any(name is not None for name in frame.index.names) else frame
    names = [" ".join(map(str, name)).strip() if isinstance(name, tuple) else str(name) for name in flat.columns]
    if len(set(names)) < len(names):
        raise ValueError(f"table {title!r} has two columns of the same name: {', '.join(sorted(names))}")
    columns = []
    for name, (_, values) in zip(names, flat.items(), strict=True):
        where = f"table {title!r}, column {name!r}, row"
        columns.append([plain(value, f"{where} {row}", missing=True) for row, value in enumerate(values)])
    return Table(names, [list(row) for row in zip(*columns, strict=True)], title, **options)


def badge(status: str) -> str:
    """Return the HTML of a claim's or finding's status, coloured by whether it is good, bad or open."""
    return f'<span class="verdict {KINDS.get(status, "open")}">{html.escape(status)}</span>'


def claim_table(claims: Sequence[Mapping]) -> Table:
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
    """Return scores as of `medpsy.scoring` as the report prints them: a row per model, the best in the first of
    `columns` first, best ones bold. Column `by` names the columns of the table; `leads`, rows with the differences of
    two models, stand below, the smallest first, then a `printed` table, index model, under `source`, all of it."""
    columns = [name for name in list(columns) or scores[by].unique() if name in set(scores[by])]
    shown = [name + end for name in columns for end in ("", MARGIN)]
    parts, links = [], []
    kinds = {"ours": scores} | ({} if leads is None else {"ours, paired": leads})
    for kind, rows in kinds.items():
        keyed = rows.set_index(["model", "label", by]).reindex(columns=["score", "margin", "link"])
        score, margin, link = (keyed[name].unstack(by).reindex(columns=columns) for name in keyed)
        score = score.sort_values(columns[0], ascending=kind != "ours", kind="stable")
        both = score.join(margin.add_suffix(MARGIN))[shown]
        parts.append(both.droplevel("model").rename_axis("Model").reset_index().assign(Source=kind))
        links.append(link.reindex(score.index))
    if printed is not None:
        parts.append(printed.rename_axis("Model").reset_index().assign(Source=source))
        columns += [name for name in printed if name not in columns]  # those that we have no score for
    frame = pd.concat(parts, ignore_index=True)[["Model", "Source", *dict.fromkeys([*shown, *columns])]]
    scored = frame.loc[frame["Source"] != "ours, paired", columns].astype(float)
    best = scored.eq(scored.groupby(frame["Source"]).transform("max")).reindex(frame.index, fill_value=False)
    links = pd.concat(links, ignore_index=True).reindex(frame.index).astype(object)
    links = links.where(links.notna(), None)
    return table(frame, title, note=note, links=links.to_dict("list"), marks=best.to_dict("list"))


def outcome_table(scores: pd.DataFrame) -> Table:
    """Return how many responses of each model to each suite ended in which outcome, the sum of the suites first;
    `scores` as `medpsy.scoring.closed_ended` returns them."""
    counts = [name for name in COUNTS if name != NO_GOLD or scores[NO_GOLD].any()]
    frame = scores[["label", "title", *counts]].assign(title=scores["title"].where(scores["suite"] != AVERAGE, "all"))
    frame.columns = ["Model", "Suite", *map(str.capitalize, counts)]
    links = {name: [f"{link}&{urlencode({'outcome': name})}" for link in scores["link"]] for name in OUTCOMES}
    links = {name.capitalize(): each for name, each in links.items()}
    note = "Unreadable and cut off responses count as not correct; failed requests are not scored."
    return table(frame, "Outcomes of all responses", note=note, links=links)


def agreement_table(pairs: pd.DataFrame, kappa: float, scores: pd.DataFrame) -> Table:
    """Return how alike the judges of a panel decide criteria (`pairs` and `kappa` of `medpsy.judge.pairwise_agreement`
    and `panel_kappa`) and order models (overall `scores` of one suite, of `medpsy.scoring.open_ended`)."""
    by_judge = scores.pivot(index="model", columns="judge", values="score")
    ranked_alike = by_judge.corr("spearman")
    frame = pairs.assign(rank=[ranked_alike.at[pair] for pair in zip(pairs["first"], pairs["second"], strict=True)])
    columns = ["Judge", "Other judge", "Criteria", "Same (%)", "Cohen's kappa", "Rank correlation of models"]
    frame = frame.replace(dict(zip(scores["judge"], scores["judge_label"], strict=True))).set_axis(columns, axis=1)
    note = f"Fleiss' kappa of the panel: {shown_value(kappa, 2)}. "
    note += f"Spearman's correlation over {len(by_judge)} models."
    return table(frame, "Agreement of the judges", note=note)


def score_points(
    scores: pd.DataFrame, title: str = "", *, by: str = "title", guessing: Iterable[float] = ()
) -> tuple[Canvas, str]:
    """Draw scores as of `medpsy.scoring` with their margins: a line per value of column `by`, in it a point per model,
    and what `guessing` would score, line by line. Return the figure, and its words for who cannot see it."""
    import seaborn as sns  # late: takes a second to import

    ends = [scores.assign(score=scores["score"] + sign * scores["margin"].fillna(0)) for sign in (-1, 0, 1)]
    models, lines, ticks = scores["label"].nunique(), scores[by].nunique(), list(guessing)
    canvas = Canvas(figsize=(8, 1 + lines * (0.2 + 0.12 * models)), layout="constrained")
    ax = canvas.subplots()
    look = {"palette": "colorblind", "markers": list("osD^vP*Xh<>p")[:models], "linestyle": "none"}
    look |= {"errorbar": ("pi", 100), "markersize": 5, "linewidth": 1.2, "dodge": 0.6 * (models > 1)}
    sns.pointplot(pd.concat(ends, ignore_index=True), x="score", y=by, hue="label", ax=ax, **look)
    ax.plot(ticks, range(len(ticks)), "k|", markersize=12, label="guessing" if ticks else None)
    ax.set(title=title, xlabel="score (0 to 100), bars: 95 % margin", ylabel="", xlim=(0, 100))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    points = scores[[by, "label", "score", "margin"]].itertuples(index=False)
    words = [f"{line}, {model}: {said_score(*score)}" for line, model, *score in points]
    return canvas, f"{title}. {'; '.join(words)}."


def is_number(value: Plain) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown_value(value: Plain, decimals: int) -> str:
    """Return `value` as a reader wants it: a dash where missing, yes and no, thousands separated."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not is_number(value):
        return str(value)
    if 0 < value < 0.5 * 10**-decimals:  # a p-value, say, which must not read as zero
        return f"<{10**-decimals:.{decimals}f}"
    return f"{value:z,.{decimals if isinstance(value, float) else 0}f}".replace("-", "−")


def said_score(score: float, margin: float) -> str:
    """Return what the words beside a figure say of one score; without a margin too little was asked for one."""
    if pd.isna(score):
        return "not measured"
    return f"{score:.1f}, no margin" if pd.isna(margin) else f"{score:.1f} ± {margin:.1f}"


def plain(value: object, where: str, *, missing: bool = False) -> Plain:
    """Return `value`, called `where` in errors, with every number, name and container as JSON has them; refuses what
    has no counterpart, an infinite number, and NaN unless `missing` writes it as null (an unmeasured cell)."""
    value = value.item() if isinstance(value, np.generic) else math.nan if value is pd.NA or value is pd.NaT else value
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}", missing=missing) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple | range | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(item, f"{where}[{i}]", missing=missing) for i, item in enumerate(items)]
    if isinstance(value, str | PurePath | date):
        return storable(value.isoformat() if isinstance(value, date) else str(value))
    if not (value is None or isinstance(value, bool | int | float)):
        raise TypeError(f"{where} is a {type(value).__name__}; a result holds only numbers, text, lists and mappings")
    if isinstance(value, float) and not math.isfinite(value):
        if missing and math.isnan(value):
            return None
        raise ValueError(f"{where} is {value}: write None where nothing was measured; an infinite number is an error")
    return value


class MissingGlyph(UserWarning):
    """No installed font has a character of a figure."""


def _cover(canvas: Canvas) -> None:
    """Give every text the installed fonts, plain ones first, that have what the usual one lacks; warn of the rest."""
    texts, fonts = canvas.findobj(Text), font_manager.fontManager.ttflist
    usual = (400, "normal", "regular")  # upright fonts of usual weight first, and the same ones every time
    fonts = sorted(fonts, key=lambda font: (font.style != "normal", font.weight not in usual, font.name, font.fname))
    lacking = {ord(character) for text in texts for character in text.get_text() if not character.isspace()}
    lacking -= _characters(font_manager.findfont(font_manager.FontProperties()))
    families = []
    for font in fonts if lacking else ():
        if not font.name.startswith(BOXES) and lacking & _characters(font.fname):
            families.append(font.name)
            lacking -= _characters(font.fname)
    for text in texts if families else ():
        text.set_fontfamily([*text.get_fontfamily(), *families])
    if lacking:
        some = "".join(map(chr, sorted(lacking)))[:20]
        warnings.warn(
            f"no installed font has {some!r}: the figure shows boxes; install one (Debian, Ubuntu: apt-get install "
            "fonts-noto-cjk, or fonts-noto for all scripts) and delete fontlist-*.json in matplotlib.get_cachedir()",
            MissingGlyph,
            stacklevel=2,
        )


@cache
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a list of fonts may name a file that is gone
        return frozenset()
