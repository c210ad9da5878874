"""Curves of several methods of reinforcement learning: trainings faint, their mean strong, a panel per quantity."""

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from medpsy.report.curves import ACROSS, STYLES
from medpsy.report.display import Figure
from medpsy.report.figures import MARKERS, PALETTE, STYLE, finished, legend_below
from medpsy.report.method_tables import rollouts
from medpsy.report.open_scores import step

PANELS = {
    "judged": "judge's reward",
    "reward_variance": "variance within a group",
    "clipped": "share clipped (log scale)",
    "grad_norm": "norm of the gradient",
    "length": "tokens per response",
    "unjudged": "share unjudged",
}
SHARES = ("clipped", "unjudged")
LEAST = 1e-4  # of the shares on a logarithmic scale, which is linear below it: most of them are 0


def method_curves(records: Mapping[str, Mapping], *, title: str = "Trainings with a judge's reward") -> Figure:
    """Return a panel per quantity with a line per training and, per method, the mean of its trainings.

    Args:
        records: as `medpsy.training.launch` returns them; trainings of one method differ in their seed.
    """
    logs = pd.concat(
        [rollouts(one).assign(method=step(name), name=name) for name, one in records.items()], ignore_index=True
    )
    logs["rollout"] = logs.groupby("name").cumcount() + 1
    methods = list(dict.fromkeys(logs["method"]))
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(8, 0.9 + 2.3 * len(PANELS) / ACROSS), layout="constrained")
        grid = canvas.subplots(len(PANELS) // ACROSS, ACROSS).ravel()
        for axes, (column, label) in zip(grid, PANELS.items(), strict=True):
            for place, method in enumerate(methods):
                _lines(axes, logs[logs["method"] == method], column, place)
            _scaled(axes, column, label)
        legend_below(grid[0], grid[0].get_legend_handles_labels()[0])
        canvas.suptitle(title, x=0.01, ha="left", fontweight="bold")
    ends = logs[logs["rollout"] == logs["rollout"].max()].groupby("method", sort=False)["judged"].mean()
    return finished(canvas, title, [f"{name.upper()} ends at a reward of {value:.2f}" for name, value in ends.items()])


def _lines(axes: Axes, logs: pd.DataFrame, column: str, place: int) -> None:
    colour = sns.color_palette(PALETTE)[place]
    for _, one in logs.groupby("name", sort=False):
        axes.plot(one["rollout"], one[column], color=colour, alpha=0.35, linewidth=0.8)
    mean = logs.groupby("rollout")[column].mean()
    look = {"color": colour, "linestyle": STYLES[place % len(STYLES)], "marker": MARKERS[place], "markersize": 4}
    axes.plot(mean.index, mean, linewidth=1.6, label=logs["method"].iloc[0].upper(), **look)


def _scaled(axes: Axes, column: str, label: str) -> None:
    axes.set(xlabel="rollout", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if column == "clipped":
        axes.set_yscale("symlog", linthresh=LEAST)
    if column in SHARES:
        axes.set_ylim(0, 1)
    sns.despine(ax=axes)
