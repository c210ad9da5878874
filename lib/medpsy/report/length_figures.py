"""Figures of response lengths: bars by suite as in Figures 4 and 5 of the report, and score against length.

Draws what it is given and computes nothing.
"""

from collections.abc import Sequence

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from medpsy.report.display import MARGIN, Figure, Table, said_score
from medpsy.report.figures import MARKERS, PALETTE, STYLE, finished, legend_below, rows_canvas
from medpsy.report.stages import BACKBONE, LAST

HEIGHT = 0.38  # of a bar, in rows
MARKED = 0.5  # %; from here on a bar says how much of it is cut off
LINES = ("-", "--", ":", "-.")


def length_bars(lengths: Table, *, title: str = "Response length") -> Figure:
    """Return one row per suite and in it a bar for each end of the training, and how much of it was cut off.

    Args:
        lengths: as `medpsy.report.length_table` returns it.
    """
    frame = lengths.frame
    rows, said = list(frame["Suite"]), []
    with mpl.rc_context(STYLE):
        canvas, axes = rows_canvas(title, rows, 1.5 + 0.48 * len(rows))
        for place, stage in enumerate((BACKBONE, LAST)):
            heights = [row + (place - 0.5) * HEIGHT for row in range(len(rows))]
            bars = {"color": sns.color_palette(PALETTE)[place], "hatch": ("", "///")[place], "edgecolor": "white"}
            error = {"error_kw": {"capsize": 2, "linewidth": 1}, "xerr": frame[stage + MARGIN].astype(float)}
            drawn = axes.barh(heights, frame[stage], height=HEIGHT, label=stage, **bars, **error)
            cut = [_cut(share) for share in frame[f"Cut off {stage} (%)"]]
            axes.bar_label(drawn, cut, padding=6, fontsize=7.5)
            said += [f"{row}, {stage}: {tokens:,.0f}" for row, tokens in zip(rows, frame[stage], strict=True)]
        axes.margins(x=0.14)
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens per response, bars: 95 % margin; fewer is better")
        legend_below(axes, axes.get_legend_handles_labels()[0])
    return finished(canvas, title, said)


def frontier_figure(points: pd.DataFrame, *, title: str = "Score against length") -> Figure:
    """Return one panel per kind of suite: every stage of every class, its stages joined in the order of training.

    A class has its colour and line, a stage its marker: names beside the points would cover each other.

    Args:
        points: as `medpsy.report.frontier` returns them.
    """
    kinds, sizes, stages = (list(dict.fromkeys(points[name])) for name in ("kind", "size", "stage"))
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8, 4.2), layout="constrained")
        panels = canvas.subplots(1, len(kinds), squeeze=False).ravel()
        for axes, kind in zip(panels, kinds, strict=True):
            for place, size in enumerate(sizes):
                _path(axes, points[(points["kind"] == kind) & (points["size"] == size)], place, stages)
            axes.set(title=kind, xlabel="tokens per response")
            axes.grid(color="#e3e3e3", linewidth=0.6)
            axes.margins(0.14)
            sns.despine(ax=axes)
        panels[0].set_ylabel("score (0 to 100)")
        handles = [Line2D([], [], label=f"{size} class", **_line(place)) for place, size in enumerate(sizes)]
        handles += [Line2D([], [], color="black", label=stage, **_mark(stages.index(stage))) for stage in stages]
        handles.append(Line2D([], [], linestyle="none", label="filled: on the frontier; bars: 95 % margin"))
        legend_below(panels[0], handles)
        canvas.suptitle(title.replace("$", r"\$"), fontsize=11, fontweight="bold", x=0.01, ha="left")
    return finished(canvas, title, [_said(one) for one in points.itertuples()])


def _path(axes: Axes, points: pd.DataFrame, place: int, stages: Sequence[str]) -> None:
    """Draw the stages of one class; those on the frontier are filled."""
    style = _line(place)
    axes.plot(points["tokens"], points["score"], alpha=0.5, **style)
    for one in points.itertuples():
        mark = _mark(stages.index(one.stage)) | {"markerfacecolor": style["color"] if one.on else "white"}
        bars = {"xerr": one.tokens_margin, "yerr": one.margin, "capsize": 2, "linewidth": 0.8}
        axes.errorbar(one.tokens, one.score, color=style["color"], **mark, **bars)


def _line(place: int) -> dict[str, object]:
    return {"color": sns.color_palette(PALETTE)[place % 10], "linestyle": LINES[place % len(LINES)]}


def _mark(place: int) -> dict[str, object]:
    return {"marker": MARKERS[place % len(MARKERS)], "markersize": 6, "linestyle": "none"}


def _cut(share: float) -> str:
    return f"{share:.0f} % cut off" if share >= MARKED else ""


def _said(one: tuple) -> str:
    score = said_score(one.score, one.margin)
    return f"{one.kind}, {one.size} class, {one.stage}: {one.tokens:,.0f} tokens, score {score}"
