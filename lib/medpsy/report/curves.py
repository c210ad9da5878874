"""Curves of a training: one small panel per quantity, one line per checkpoint."""

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from medpsy.report.display import Figure
from medpsy.report.figures import PALETTE, STYLE

ACROSS = 2  # panels in a row
STYLES = ("-", "--", "-.", ":")
SMOOTH = 0.15  # share of the steps over which the strong line averages
EXACT = ("learning_rate",)  # set, not measured: no mean is taken


def training_curves(journal: pd.DataFrame, panels: Mapping[str, str], *, title: str) -> Figure:
    """Return a panel per column of `panels` (column of the log -> label of its axis), steps from left to right.

    The faint line is what was logged at each step, the strong one its running mean; points are values that were
    logged now and then, such as an evaluation.

    Args:
        journal: as `medpsy.report.training.journal` returns it.
    """
    shown = {column: label for column, label in panels.items() if column in journal and journal[column].notna().any()}
    names = list(dict.fromkeys(journal["name"]))
    rows = -(-len(shown) // ACROSS)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8, 0.9 + 2.4 * rows), layout="constrained")
        grid = canvas.subplots(rows, ACROSS, squeeze=False).ravel()
        for axes, (column, label) in zip(grid, shown.items(), strict=False):
            _panel(axes, journal, names, column, label)
        for axes in grid[len(shown) :]:
            axes.set_axis_off()
        handles, labels = grid[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=min(4, len(names)), frameon=False)
        canvas.suptitle(title, x=0.01, ha="left", fontweight="bold")
    alt = f"{title}: {', '.join(shown.values())} against optimizer steps, for {', '.join(names)}"
    return Figure(canvas, title, alt)


def _panel(axes: Axes, journal: pd.DataFrame, names: list[str], column: str, label: str) -> None:
    colours = sns.color_palette(PALETTE, len(names))
    for number, name in enumerate(names):
        values = journal[(journal["name"] == name) & journal[column].notna()]
        look = {"color": colours[number], "linestyle": STYLES[number % len(STYLES)]}
        seldom = len(values) * 2 < (journal["name"] == name).sum()
        if seldom or column in EXACT:
            axes.plot(values["step"], values[column], marker="o" if seldom else "", markersize=4, label=name, **look)
            continue
        axes.plot(values["step"], values[column], color=colours[number], alpha=0.25, linewidth=0.8)
        mean = values[column].rolling(max(1, round(SMOOTH * len(values))), min_periods=1).mean()
        axes.plot(values["step"], mean, label=name, linewidth=1.6, **look)
    axes.set(xlabel="optimizer step", ylabel=label)
    sns.despine(ax=axes)
