"""Drawings of the audit: gaps against rounding, sample sizes against chance, leads against noise.

Each function returns a figure and draws only what it is given.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medpsy.published.auditing import GRADES, Audit

COLOURS = dict(zip(GRADES, ("#b2182b", "#ef8a62", "#2166ac", "#7f7f7f"), strict=True))
FITS = {"fits": "#1b7837", "fits by chance too": "#9e9e9e", "does not fit": "#b2182b"}
ROW = 0.22  # inches of height per line


def gaps(found: Audit) -> Figure:
    """Return every disagreement in points: how far printed and recomputed are apart, and how far rounding reaches."""
    rows = found.disagreements()
    rows = rows[(rows["unit"] == "points") & rows["gap"].notna()].reset_index(drop=True)
    figure, axes = _canvas(len(rows))
    axes.barh(rows.index, rows["reach"], color="#e0e0e0", height=0.8, label="explained by rounding", zorder=1)
    for grade, colour in COLOURS.items():
        chosen = rows[rows["grade"] == grade]
        axes.scatter(chosen["gap"].abs(), chosen.index, color=colour, s=28, label=grade, zorder=2)
    _rows(axes, rows["group"].astype(str) + "  " + rows["id"] + "  " + rows["place"])
    axes.set_xscale("log")
    axes.set_xlim(0.003, 2)
    axes.set_xticks([0.005, 0.01, 0.1, 1], ["0.005", "0.01", "0.1", "1"])
    axes.set_xlabel("printed against recomputed (points)")
    _legend(axes, columns=3)
    return figure


def sample_sizes(found: pd.DataFrame) -> Figure:
    """Return, for every candidate size, how many printed values it can produce beside the rate expected by chance.

    Args:
        found: rows of `granularity.granularity` for one run count.
    """
    rows = found.reset_index(drop=True)
    best = rows[["fit", "fit rounded"]].max(axis=1) / rows["values"]
    by_chance = rows["chance rounded"].where(rows["fit rounded"] > rows["fit"], rows["chance"])
    figure, axes = _canvas(len(rows))
    axes.barh(rows.index, 100 * by_chance, color="#e0e0e0", height=0.8, label="expected by chance", zorder=1)
    for reading, colour in FITS.items():
        chosen = rows["reading"] == reading
        axes.scatter(100 * best[chosen], rows.index[chosen], color=colour, s=34, label=reading, zorder=2)
    _rows(axes, rows["suite"] + ": " + rows["selection"] + rows["questions"].map(" ({:,})".format))
    axes.set_xlim(0, 104)
    axes.set_xlabel("printed values that the size can produce (%)")
    _legend(axes, columns=4)
    return figure


def leads(found: pd.DataFrame, first: str, second: str) -> Figure:
    """Return the lead of one model over another per suite, with both margins.

    Args:
        found: rows of `noise.leads`.
    """
    rows = found.reset_index(drop=True)
    figure, axes = _canvas(len(rows) + 2)
    wide, narrow = {"color": "#bdbdbd", "linewidth": 7}, {"color": "#4d4d4d", "linewidth": 2}
    for column, style in (("question margin", wide), ("run margin", narrow)):
        axes.hlines(rows.index, rows["lead"] - rows[column], rows["lead"] + rows[column], label=column, **style)
    axes.scatter(rows["lead"], rows.index, color="#2166ac", s=34, label="published lead", zorder=3)
    axes.axvline(0, color="black", linewidth=0.8)
    _rows(axes, rows["suite"])
    axes.set_xlabel(f"{first} over {second} (points)")
    _legend(axes, columns=3)
    return figure


def _canvas(lines: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.5, 1.4 + ROW * lines), layout="constrained")
    return figure, figure.subplots()


def _rows(axes: Axes, labels: pd.Series) -> None:
    axes.set_yticks(labels.index, labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x", linewidth=0.4, alpha=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Axes, *, columns: int) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False, fontsize=8)
