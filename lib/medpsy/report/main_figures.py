"""Figures 1 and 2 of the report: nine panels per size class, one bar per model, bars for the margins.

Draws what it is given and computes nothing. A model has the same colour in both figures, and its place among the bars
says the same as its colour.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from medpsy.benchmarks import OPEN_SUITES
from medpsy.report.display import Figure, said_score
from medpsy.report.figures import AVERAGE, PALETTE, STYLE, finished
from medpsy.report.main_models import SizeClass, main_models
from medpsy.report.rubric_scores import overall
from medpsy.study import Study

ACROSS = 3  # report Figures 1 and 2: three columns
OPEN_PANEL = "HealthBench"  # both splits side by side
GUESSING = {"color": "black", "linestyle": (0, (1, 1.5)), "linewidth": 1.0}
ERROR = {"ecolor": "#222222", "elinewidth": 1.0, "capsize": 2.0}
Row = tuple[str, str, float, float]  # model, group, score, margin


def main_figures(
    study: Study,
    classes: Sequence[SizeClass],
    scores: pd.DataFrame,
    rubric: pd.DataFrame,
    *,
    chance: Mapping[str, float] | None = None,
) -> dict[str, Figure]:
    """Return one figure per size class: the average, HealthBench with Hard, and every suite.

    Args:
        scores, rubric: as `medpsy.report.scored` and `medpsy.report.rubric_scored` return them; the first judge counts.
        chance: title of a suite -> score of guessing, drawn dotted.
    """
    palette = sns.color_palette(PALETTE)
    colours = {name: palette[place % len(palette)] for place, name in enumerate(main_models(classes))}
    found = {}
    for one in classes:
        own = {name: colours[name] for name in one.shown}
        title = f"Overview of the {one.size} class"
        panels = _panels(scores[scores["model"].isin(own)], _opened(study, rubric[rubric["model"].isin(own)]))
        found[f"overview_{one.size}"] = _figure(title, panels, own, _labels(study, own), chance or {})
    return found


def _opened(study: Study, rubric: pd.DataFrame) -> pd.DataFrame:
    own = rubric[rubric["judge"] == study.judges[0]]
    return pd.concat([overall(own, key) for key in OPEN_SUITES if key in set(own["suite"])])


def _panels(scores: pd.DataFrame, opened: pd.DataFrame) -> dict[str, list[Row]]:
    """Return what each panel shows, in the order of the report: the average, HealthBench, then the suites."""
    panels: dict[str, list[Row]] = {AVERAGE: [], OPEN_PANEL: []}
    for row in scores.itertuples():
        panels.setdefault(row.title, []).append((row.model, "", row.score, row.margin))
    panels[OPEN_PANEL] = [(row.model, row.suite_title, row.score, row.margin) for row in opened.itertuples()]
    return {name: rows for name, rows in panels.items() if rows}


def _labels(study: Study, names: Mapping[str, object]) -> dict[str, str]:
    return {name: study.model(name).label for name in names}


def _figure(
    title: str, panels: Mapping[str, list[Row]], colours: Mapping, labels: Mapping[str, str], chance: Mapping
) -> Figure:
    with mpl.rc_context(STYLE):
        down = -(-len(panels) // ACROSS)
        canvas = Canvas(figsize=(8, 0.9 + 2.0 * down), layout="constrained")
        places = canvas.subplots(down, ACROSS, squeeze=False).ravel()
        for axes, (name, rows) in zip(places, panels.items(), strict=False):
            _panel(axes, name, rows, colours, chance.get(name))
        for axes in places[len(panels) :]:
            axes.set_axis_off()
        canvas.supylabel("score (0 to 100); bars: 95 % margin", fontsize=9)
        handles: list = [
            Patch(color=colour, label=labels[name].replace("$", r"\$")) for name, colour in colours.items()
        ]
        handles += [Line2D([], [], label="guessing", **GUESSING)] if chance else []
        canvas.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=8.5)
        canvas.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return finished(canvas, title, [_said(name, rows, labels) for name, rows in panels.items()])


def _panel(axes: Axes, name: str, rows: Sequence[Row], colours: Mapping, guessing: float | None) -> None:
    groups = list(dict.fromkeys(group for _, group, _, _ in rows))
    models = [model for model in colours if any(model == row[0] for row in rows)]
    width = 0.84 / len(models)
    for place, model in enumerate(models):
        own = {group: (score, margin) for shown, group, score, margin in rows if shown == model}
        at = np.arange(len(groups)) + (place - (len(models) - 1) / 2) * width
        score, margin = np.array([own.get(group, (np.nan, np.nan)) for group in groups], dtype=float).T
        within = [np.minimum(margin, score), np.minimum(margin, 100 - score)]  # no score lies beyond 0 or 100
        bars = axes.bar(at, score, width * 0.92, yerr=within, color=colours[model], error_kw=ERROR)
        axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=1)
    if guessing is not None:
        axes.axhline(guessing, **GUESSING)
    axes.set_title(name, fontsize=9)
    axes.set_xticks(range(len(groups)), groups, fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 108)  # room for the numbers above full bars
    axes.grid(axis="y", color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)
    sns.despine(ax=axes)


def _said(name: str, rows: Sequence[Row], labels: Mapping[str, str]) -> str:
    shown = [f"{labels[model]}{f' on {group}' if group else ''} {said_score(*two)}" for model, group, *two in rows]
    return f"{name}: " + ", ".join(shown)
