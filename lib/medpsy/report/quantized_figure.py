"""A figure of the GGUF files, a row per format and a marker per size class: file size, score, divergence.

Draws what it is given and computes nothing.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from medpsy.quantization import Variant
from medpsy.report.display import Figure
from medpsy.report.figures import MARKERS, PALETTE, STYLE, finished, legend_below
from medpsy.report.quantized import BOTH, Quantized

TITLE = "What fewer bits cost"
APART = 0.3  # between two size classes, in rows
SIZE, SCORE = "file size (MB)", "AVG Score (0 to 100)"
DIVERGENCE = "KL divergence (nats per token)"
DOTTED = (0, (1, 1.5))


def quantized_figure(found: Quantized, losses: pd.DataFrame, *, title: str = TITLE) -> Figure:
    """Return three panels: file size, AVG Score with its source model's, and the divergence where it was measured."""
    known, families = losses.set_index("name"), list(found.families.values())
    rows = list(dict.fromkeys(one.label for family in families for one in family.variants))
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8, 1.6 + 0.42 * len(rows)), layout="constrained")
        panels = canvas.subplots(1, 3, sharey=True)
        for place, family in enumerate(families):
            heights = [rows.index(one.label) + (place - (len(families) - 1) / 2) * APART for one in family.variants]
            _class(panels, found, family.variants, heights, known, _style(place))
            source = found.score(family.source.name, BOTH)[0]
            panels[1].axvline(source, color=_style(place)["color"], linestyle=DOTTED, linewidth=1.2)
        for axes, name in zip(panels, (SIZE, SCORE, DIVERGENCE), strict=True):
            _frame(axes, name, rows)
        if len(known):
            panels[2].set_xscale("log")
        handles = [Line2D([], [], label=f"{one.size} class", **_style(at)) for at, one in enumerate(families)]
        handles.append(Line2D([], [], color="black", linestyle=DOTTED, label="its source model; bars: 95 % margin"))
        legend_below(panels[0], handles)
        canvas.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return finished(canvas, title, [_said(found, one) for family in families for one in family.variants])


def _class(
    panels: Sequence[Axes],
    found: Quantized,
    files: Sequence[Variant],
    heights: Sequence[float],
    known: pd.DataFrame,
    style: dict,
) -> None:
    """Draw the files of one size class into the three panels."""
    scores = [found.score(one.name, BOTH) for one in files]
    margins = [found.margin(value, BOTH) or 0.0 for value in scores]
    panels[0].plot([one.bytes / 1e6 for one in files], heights, **style)
    panels[1].errorbar([value[0] for value in scores], heights, xerr=margins, capsize=2, **style)
    measured = [(known.loc[one.name], at) for one, at in zip(files, heights, strict=True) if one.name in known.index]
    for row, height in measured:
        panels[2].errorbar(row["divergence"], height, xerr=row["divergence_margin"], capsize=2, **style)


def _style(place: int) -> dict[str, object]:
    look = {"color": sns.color_palette(PALETTE)[place], "marker": MARKERS[place]}
    return look | {"markersize": 5, "linestyle": "none"}


def _frame(axes: Axes, name: str, rows: Sequence[str]) -> None:
    axes.set_xlabel(name)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e3e3e3", linewidth=0.6)
    for line in range(1, len(rows)):
        axes.axhline(line - 0.5, color="#e3e3e3", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=True)


def _said(found: Quantized, one: Variant) -> str:
    value = found.score(one.name, BOTH)
    margin = found.margin(value, BOTH)
    width = "" if margin is None else f" ± {margin:.1f}"
    score = f"{value[0]:.1f}{width}" if np.isfinite(value[0]) else "not measured"
    return f"{one.size}, {one.label}: {one.bytes / 1e6:.2f} MB, {score}"
