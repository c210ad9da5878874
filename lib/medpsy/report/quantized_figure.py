"""A figure of the GGUF files: scores and divergence against file size, a marker per size class.

Draws what it is given and computes nothing.
"""

from collections.abc import Sequence

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from medpsy.quantization import Variant
from medpsy.report.display import Figure
from medpsy.report.figures import MARKERS, PALETTE, STYLE, finished, legend_below
from medpsy.report.quantized import BOTH, Quantized

TITLE = "What fewer bits cost"


def quantized_figure(found: Quantized, losses: pd.DataFrame, *, title: str = TITLE) -> Figure:
    """Return two panels over file size: the AVG Score, and the divergence from BF16 where it was measured."""
    known = losses.set_index("name")
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8, 4.4), layout="constrained")
        scores, divergence = canvas.subplots(1, 2)
        for place, (size, family) in enumerate(found.families.items()):
            style = {"color": sns.color_palette(PALETTE)[place], "marker": MARKERS[place], "markersize": 5}
            style |= {"label": size, "capsize": 2, "linestyle": "none"}
            _scores(scores, found, family.variants, style)
            _line(scores, found, family.source.name, style["color"])
            _divergences(divergence, [one for one in family.variants if one.name in known.index], known, style)
        scores.set_ylabel("AVG Score (0 to 100), bars: 95 % margin")
        divergence.set_ylabel("KL divergence from BF16 (nats per token)")
        for axes, name in ((scores, "Score; dotted: source model"), (divergence, "Divergence")):
            _frame(axes, name)
        legend_below(scores, scores.get_legend_handles_labels()[0])
    said = [_said(found, one) for family in found.families.values() for one in family.variants]
    return finished(canvas, title, said)


def _scores(axes: Axes, found: Quantized, files: Sequence[Variant], style: dict) -> None:
    values = [found.score(one.name, BOTH) for one in files]
    margins = [found.margin(value, BOTH) or 0.0 for value in values]
    _points(axes, files, [value[0] for value in values], margins, style)


def _divergences(axes: Axes, files: Sequence[Variant], known: pd.DataFrame, style: dict) -> None:
    rows = [known.loc[one.name] for one in files]
    _points(axes, files, [row["divergence"] for row in rows], [row["divergence_margin"] for row in rows], style)
    if files:
        axes.set_yscale("log")


def _points(axes: Axes, files: Sequence[Variant], values: list[float], margins: list[float], style: dict) -> None:
    sizes = [one.bytes / 1e6 for one in files]
    axes.errorbar(sizes, values, yerr=margins, **style)
    for one, size, value in zip(files, sizes, values, strict=True):
        name = f"{one.format}, plain" if one.is_plain else one.format
        axes.annotate(name, (size, value), xytext=(4, 3), textcoords="offset points", fontsize=6.5, rotation=25)


def _line(axes: Axes, found: Quantized, source: str, colour: object) -> None:
    axes.axhline(found.score(source, BOTH)[0], color=colour, linestyle=(0, (1, 1.5)), linewidth=1.2)


def _frame(axes: Axes, name: str) -> None:
    axes.set_title(name, fontsize=9)
    axes.set_xlabel("file size (MB)")
    axes.grid(color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)
    sns.despine(ax=axes)


def _said(found: Quantized, one: Variant) -> str:
    value = found.score(one.name, BOTH)
    margin = found.margin(value, BOTH)
    width = "" if margin is None else f" ± {margin:.1f}"
    return f"{one.size}, {one.label}: {one.bytes / 1e6:.2f} MB, {value[0]:.1f}{width}"
