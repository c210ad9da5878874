"""Figure of section 3.5: hours of data generation against utilization, a line per teacher.

Draws what it is given and computes nothing.
"""

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from medpsy.report.display import Figure
from medpsy.report.figures import MARKERS, PALETTE, STYLE, finished, legend_below

LINES = ("-", "--", ":", "-.")


def sensitivity_figure(points: pd.DataFrame, published: float, *, title: str = "Hours of data generation") -> Figure:
    """Return hours against the share of the peak, both on logarithmic scales; `published` is a line across.

    Args:
        points: as `medpsy.report.sensitivity` returns them.
    """
    said = [f"published: {published:,.0f} hours"]
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8, 4.2), layout="constrained")
        axes, handles = canvas.subplots(), []
        for place, (name, rows) in enumerate(points.groupby("teacher", sort=False)):
            colour, lines = sns.color_palette(PALETTE)[place % 10], rows[rows["place"] == "line"]
            mark = {"color": colour, "marker": MARKERS[place % len(MARKERS)], "linestyle": LINES[place % len(LINES)]}
            axes.plot(lines["share"], lines["hours"], color=colour, linestyle=mark["linestyle"])
            reached = rows[rows["place"] == "memory"].iloc[0]
            axes.plot(reached["share"], reached["hours"], **mark, markersize=7)
            label = f"{name}, {reached['active']:.0f} billion active"
            handles.append(Line2D([], [], label=label, **mark))
            said.append(f"{label}: {reached['hours']:,.0f} hours at {reached['share']:.1f} % of the peak")
        axes.axhline(published, color="black", linewidth=1.0, linestyle=(0, (1, 1.5)))
        handles.append(Line2D([], [], color="black", linestyle=(0, (1, 1.5)), label="published"))
        axes.set(
            xscale="log", yscale="log", xlabel="share of the GPU's peak (%); markers: what memory bandwidth allows"
        )
        axes.set_ylabel("GPU hours")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.grid(color="#e3e3e3", linewidth=0.6)
        sns.despine(ax=axes)
        legend_below(axes, handles)
        canvas.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return finished(canvas, title, said)
