"""A figure of the training stages: a small panel per measure, stages from left to right, bars for the margins.

Draws what it is given and computes nothing.
"""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from medpsy.report import compare
from medpsy.report.display import Figure, said_score
from medpsy.report.figures import AVERAGE, PALETTE, STYLE, finished
from medpsy.report.progression import HEALTHBENCH, Progression
from medpsy.study import Study

ACROSS = 3  # panels beside each other: as many as stay readable at the width of the site
LEAST_SPAN = 24.0  # points; a panel shows no less, so that noise does not look like a trend
GUESSING = {"color": "black", "linestyle": (0, (1, 1.5)), "linewidth": 1.0}
OURS = {"color": sns.color_palette(PALETTE)[0], "marker": "o", "markersize": 4}
PRINTED = {"color": "#777777", "marker": "d", "markerfacecolor": "white", "linestyle": "--", "linewidth": 1.0}


def stage_figure(
    study: Study, found: Progression, *, chance: Mapping[str, float] | None = None, title: str = ""
) -> Figure:
    """Return one panel per measure: the average, HealthBench, and every suite.

    Published scores are drawn where the published models are run, and nowhere else.

    Args:
        chance: title of a suite -> score of guessing, drawn dotted where a panel reaches so low.
    """
    title = title or f"Stages of the {found.ladder.size} class"
    measures = sorted(found.scores["measure"].unique(), key=lambda name: (name != AVERAGE, name != HEALTHBENCH))
    values = compare.mode(study.profile) == "values"
    with mpl.rc_context(STYLE):
        down = -(-len(measures) // ACROSS)
        canvas = Canvas(figsize=(8, 0.7 + 2.1 * down), layout="constrained")
        panels = canvas.subplots(down, ACROSS, squeeze=False).ravel()
        for panel, name in zip(panels, measures, strict=False):
            printed = [found.printed(row, name) for row in found.ladder.rows.values()] if values else []
            _panel(panel, found.scores[found.scores["measure"] == name], printed, chance or {})
        for panel in panels[len(measures) :]:
            panel.set_axis_off()
        canvas.supylabel("score, each panel on a scale of its own; bars: 95 % margin", fontsize=9)
        _legend(canvas, values, bool(chance))
        canvas.suptitle(title.replace("$", r"\$"), fontsize=11, fontweight="bold", x=0.01, ha="left")
    return finished(canvas, title, [_said(name, found.scores) for name in measures])


def _panel(axes: Axes, scores: pd.DataFrame, printed: list[float | None], chance: Mapping) -> None:
    name, ticks = scores["measure"].iloc[0], range(len(scores))
    axes.errorbar(ticks, scores["score"], yerr=scores["margin"], capsize=2.5, **OURS)
    known = [value for value in printed if value is not None]
    if known:
        axes.plot(ticks, [np.nan if value is None else value for value in printed], markersize=4.5, **PRINTED)
    edges = [*(scores["score"] - scores["margin"].fillna(0)), *(scores["score"] + scores["margin"].fillna(0)), *known]
    low, high = _span(np.array(edges, dtype=float))
    axes.set_ylim(low, high)
    if name in chance and low < chance[name] < high:
        axes.axhline(chance[name], **GUESSING)
    axes.set_title(name, fontsize=9)
    axes.set_xticks(ticks, scores["stage"], fontsize=8)
    axes.set_xlim(-0.4, len(scores) - 0.6)
    axes.grid(axis="y", color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)
    sns.despine(ax=axes)


def _span(edges: np.ndarray) -> tuple[float, float]:
    """Return the limits of a panel around what it shows, `LEAST_SPAN` apart at least, within 0 to 100."""
    edges = edges[np.isfinite(edges)]
    if not len(edges):
        return 0.0, 100.0
    middle, half = (edges.max() + edges.min()) / 2, max(LEAST_SPAN, 1.15 * np.ptp(edges)) / 2
    return max(-2.0, middle - half), min(102.0, middle + half)


def _legend(canvas: Canvas, published: bool, chance: bool) -> None:
    handles = [Line2D([], [], label="ours", **OURS)]
    handles += [Line2D([], [], label="published", **PRINTED)] if published else []
    handles += [Line2D([], [], label="guessing", **GUESSING)] if chance else []
    if len(handles) > 1:
        canvas.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=8.5)


def _said(name: str, scores: pd.DataFrame) -> str:
    own = scores[scores["measure"] == name]
    shown = zip(own["stage"], own["score"], own["margin"], strict=True)
    return f"{name}: " + ", ".join(f"{stage} {said_score(*one)}" for stage, *one in shown)
